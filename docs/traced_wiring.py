"""What a fusion connects with what, read from a trace of the fusion itself.

Every module that a fusion is made of runs under a name of its own, so each operation of the
traced program belongs to one module or lies between modules. What flows from one to the
next through the operations between them is a connection. Nothing is written down by hand,
so that a wiring cannot drift from its code, and a fusion of one's own needs nothing.
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from flax import nnx

from hybrid_jax.models.layers.transformer import LayerScale
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT

IMAGE = ("image",)
Path = tuple[Any, ...]
_NO_BOX = (nnx.LayerNorm, nnx.BatchNorm, nnx.GroupNorm, nnx.RMSNorm, LayerScale)
_MARK = re.compile(r"unit<(\d+)>")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A box of a diagram: a module, or an array that the fusion itself learns.

    Attributes:
        paths: of the modules in it, in the fusion; several after merging.
        part: "resnet" or "vit" if it belongs to one of these, else "fusion".
        kind: what units must share to be merged if they follow each other.
        name: the name of its class, or of the array.
        is_module: False for an array.
        shapes: of all that leaves it, without the batch.
        notes: names of other modules in it, after merging.
    """

    paths: tuple[Path, ...]
    part: str
    kind: Path
    name: str
    is_module: bool = True
    shapes: frozenset[tuple[int, ...]] = frozenset()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Wiring:
    """Units in the order in which they run, and what connects them.

    Attributes:
        units: by the path of the first module of each; `IMAGE` is none of them.
        edges: pairs (from, to) of these paths, or from `IMAGE`.
        outputs: "4", "8", ... for the map of that stride, or "pooled" -> the units
            that it comes from.
        channels: of each output.
        image_hw: (H, W) in px of the images of the trace.
    """

    units: dict[Path, Unit]
    edges: frozenset[tuple[Path, Path]]
    outputs: dict[str, frozenset[Path]]
    channels: dict[str, int]
    image_hw: tuple[int, int]


def traced_wiring(fusion: nnx.Module, *, image_hw: tuple[int, int]) -> Wiring:
    """Traces a fusion, of arrays or of shapes only, and returns its wiring.

    Args:
        fusion: as `FUSIONS` registers them.
        image_hw: (H, W) of the images in px.
    """
    graph, state = nnx.split(fusion)
    marks = _Marks()

    def run(state, images):
        model = nnx.merge(graph, state)
        marks.watch(model)
        features = model(images)
        return features.maps, features.pooled

    images = jax.ShapeDtypeStruct((1, *image_hw, 3), "float32")
    traced, shapes = jax.make_jaxpr(run, return_shape=True)(state, images)
    names = [str(stride) for stride in sorted(shapes[0])] + ["pooled"]
    arrays = [*(shapes[0][stride] for stride in sorted(shapes[0])), shapes[1]]
    learned = [_path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(state)]
    flow = _Flow(marks)
    flow.enter(traced.jaxpr.invars, [*learned, IMAGE])
    flow.follow(traced.jaxpr.eqns)
    for variable in traced.jaxpr.outvars:
        flow.leave(variable)
    outputs = {
        name: frozenset(flow.sources(var))
        for name, var in zip(names, traced.jaxpr.outvars, strict=True)
    }
    return Wiring(
        units=flow.units(),
        edges=frozenset(flow.edges),
        outputs=outputs,
        channels={n: a.shape[-1] for n, a in zip(names, arrays, strict=True)},
        image_hw=image_hw,
    )


class _Marks:
    """Runs the modules of a fusion under names by which their operations are known."""

    def __init__(self):
        self.found: list[Unit] = []
        self._by_path: dict[Path, int] = {}
        self._by_module: dict[int, int] = {}
        self._is_inside = False

    def watch(self, fusion: nnx.Module) -> None:
        """Makes every module of a fusion set its mark; the fusion is changed for good."""
        for path, module in list(nnx.iter_modules(fusion)):
            if isinstance(module, ViT):
                # A loop over blocks would be one operation.
                module.spec = dataclasses.replace(module.spec, block_loop="unrolled")
            unit = _unit_of(path, fusion)
            if unit is None or not callable(module):
                continue
            (place,) = unit.paths
            if place not in self._by_path:
                self._by_path[place] = len(self.found)
                self.found.append(unit)
            self._by_module[id(module)] = self._by_path[place]
            module.__class__ = _marking(type(module))
            object.__setattr__(module, "_marks", self)

    @contextlib.contextmanager
    def around(self, module: nnx.Module) -> Iterator[None]:
        """Marks what runs inside the `with`, unless it is inside another unit."""
        if self._is_inside:
            yield
            return
        self._is_inside = True
        try:
            with jax.named_scope(f"unit<{self._by_module[id(module)]}>"):
                yield
        finally:
            self._is_inside = False

    def of(self, equation: Any) -> Unit | None:
        """Returns the unit that an operation belongs to; None between units."""
        mark = _MARK.search(str(equation.source_info.name_stack))
        return None if mark is None else self.found[int(mark[1])]


@functools.cache
def _marking(kind: type) -> type:
    """Returns the subclass of a class of modules whose methods set the mark."""
    methods = {}
    for base in kind.__mro__[: kind.__mro__.index(nnx.Module)]:
        for name, function in vars(base).items():
            public = name == "__call__" or not name.startswith("_")
            if public and callable(function) and hasattr(function, "__code__"):
                methods.setdefault(name, _marked(name, kind))
    make: Any = type(kind)  # Flax has a class of its own for classes of modules
    return make(kind.__name__, (kind,), methods)


def _marked(name: str, kind: type):
    def method(self, *args, **options):
        with self._marks.around(self):
            return getattr(kind, name)(self, *args, **options)

    return method


class _Flow:
    """Follows arrays through a traced program, from unit to unit."""

    def __init__(self, marks: _Marks):
        self.edges: set[tuple[Path, Path]] = set()
        self._marks = marks
        self._sources: dict[Any, frozenset[Path]] = {}
        self._made: dict[Any, Path] = {}
        self._learned: dict[Path, Unit] = {}
        self._shapes: dict[Path, set[tuple[int, ...]]] = {}

    def enter(self, variables: Iterable[Any], paths: Iterable[Path]) -> None:
        """Notes where the inputs of the program come from."""
        for variable, path in zip(variables, paths, strict=True):
            own = len(path) == 1 and path != IMAGE  # an array of the fusion itself
            if own:
                self._learned[path] = Unit((path,), "fusion", path, path[0], False)
            known = own or path == IMAGE
            self._sources[variable] = frozenset([path] if known else ())

    def follow(self, equations: Iterable[Any]) -> None:
        """Notes what every operation reads."""
        for equation in equations:
            read = [(var, self.sources(var)) for var in equation.invars]
            unit = self._marks.of(equation)
            if unit is None:
                given = frozenset().union(*(paths for _, paths in read))
            else:
                given = frozenset(unit.paths)
            (here,) = given if unit else (None,)
            for var, paths in read:
                if here is not None:
                    self.edges |= {(path, here) for path in paths - {here}}
                if paths != {here}:
                    self.leave(var)
            self._sources |= dict.fromkeys(equation.outvars, given)
            if here is not None:
                self._made |= dict.fromkeys(equation.outvars, here)

    def leave(self, variable: Any) -> None:
        """Notes the shape of an array that is read outside of the unit that made it."""
        path = None if _is_constant(variable) else self._made.get(variable)
        if path is not None:
            self._shapes.setdefault(path, set()).add(variable.aval.shape[1:])

    def sources(self, variable: Any) -> frozenset[Path]:
        """Returns the units that an array of the program comes from."""
        if _is_constant(variable):
            return frozenset()
        return self._sources.get(variable, frozenset())

    def units(self) -> dict[Path, Unit]:
        """Returns all units with the shapes of what they give."""
        units = {unit.paths[0]: unit for unit in self._marks.found} | self._learned
        return {
            path: dataclasses.replace(unit, shapes=frozenset(self._shapes.get(path, ())))
            for path, unit in units.items()
        }


def _unit_of(path: Path, fusion: nnx.Module) -> Unit | None:
    """Returns the unit that a module of a fusion belongs to; None if to none.

    Those are the stem and the blocks of a ResNet, the embedding and the blocks of a ViT,
    and whatever else the fusion holds. Norms and scales are no boxes of their own.
    """
    if not path:
        return None
    first = getattr(fusion, path[0])
    part = {ResNet: "resnet", ViT: "vit"}.get(_base(first), "fusion")
    if part != "fusion":
        inside = {"stages": 5, "blocks": 3}.get(path[1], 2) if len(path) > 1 else 2
    else:
        inside = 2 if isinstance(first, nnx.List) else 1
    place = path[:inside]
    if len(place) < inside:
        return None
    module = fusion
    for key in place:
        module = module[key] if isinstance(key, int) else getattr(module, key)
    if isinstance(module, _NO_BOX):
        return None
    kind = place[:-1] if isinstance(place[-1], int) else place
    return Unit((place,), part, kind, type(module).__name__)


def _is_constant(variable: Any) -> bool:
    return hasattr(variable, "val")  # a literal


def _base(module: Any) -> type | None:
    return next((kind for kind in (ResNet, ViT) if isinstance(module, kind)), None)


def _path_of(keys: Iterable[Any]) -> Path:
    """Returns the path of an array without the attribute that holds its value."""
    path = [getattr(key, "key", getattr(key, "name", None)) for key in keys]
    return tuple(path[:-1] if path[-1] == "value" else path)
