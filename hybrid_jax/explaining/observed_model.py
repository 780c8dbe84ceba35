"""What happens inside a model: maps, tokens and attention weights, of any fusion.

The modules of a private copy of the model get subclasses of their classes, which pass what
they compute to an `Observer`. Fusions, layers and the model itself are unchanged and know
nothing of it; a new fusion is observed as it stands.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct

from hybrid_jax.models.decoders.fpn import FPN
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.models.resnet.bottleneck import Bottleneck
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.attention.dot_product import attention_by

Path = tuple[Any, ...]


@struct.dataclass
class AttentionRecord:
    """The weights of one call of attention.

    Attributes:
        weights: (B, heads, N, M) float32; every row sums to 1.
        path: of the module that called, in the backbone.
    """

    weights: jax.Array
    path: Path = struct.field(pytree_node=False)


@struct.dataclass
class Seen:
    """What one forward pass of a model has computed.

    Attributes:
        outputs: of the head.
        read: {stride: (B, h, w, C)}, the maps that the head got.
        maps: name -> map (B, h, w, C) or tokens (B, prefix + N, D): `stage<i>` from 1, or
            `root` of a ResNet without stages; `tokens`, those that enter the last block.
        attention: every call inside the backbone, in order.
        pyramids: path -> the levels {stride: (B, h, w, C)} of every FPN.
        blocks: of the ViT's blocks, in order: the number of tokens with the prefix, and
            (h, w) of their grid, None if they have no single grid.
        reads_cls: whether the ViT's pooled vector is its class token.
    """

    outputs: Any
    read: dict[int, jax.Array]
    maps: dict[str, jax.Array]
    attention: tuple[AttentionRecord, ...]
    pyramids: dict[str, dict[int, jax.Array]]
    blocks: tuple[tuple[int, tuple[int, int] | None], ...] = struct.field(pytree_node=False)
    reads_cls: bool = struct.field(pytree_node=False)


class Observer:
    """Collects what one forward pass computes, and may add to it on the way.

    Args:
        shifts: name of a map, see `Seen` -> array added to it. The gradient with respect
            to zeros added is the gradient of the map.
    """

    def __init__(self, *, shifts: Mapping[str, jax.Array] | None = None):
        self._shifts = shifts or {}
        self._read: dict[int, jax.Array] = {}
        self._maps: dict[str, jax.Array] = {}
        self._attention: list[AttentionRecord] = []
        self._blocks: list[tuple[int, tuple[int, int] | None]] = []
        self._pyramids: dict[str, dict[int, jax.Array]] = {}
        self._paths: dict[int, Path] = {}  # id of a module -> its path
        self._names: dict[int, str] = {}  # id of a module -> the name of its map
        self._inside: list[Path] = []  # the modules that are running
        self._reads_cls = False

    def watch(self, model: Hybrid) -> None:
        """Makes the modules of a model report here; the model is changed for good."""
        for path, module in list(nnx.iter_modules(model)):
            self._paths[id(module)] = path
            if isinstance(module, ResNet) and path == ("backbone", "resnet"):
                self._names |= _names_of_maps(module)
            _store_everything(module)
            if callable(module):
                module.__class__ = _reporting(type(module))
                object.__setattr__(module, "_observer", self)

    @contextlib.contextmanager
    def running(self, module: nnx.Module) -> Iterator[None]:
        """Marks a module as the one that runs inside the `with`."""
        self._inside.append(self._paths[id(module)])
        try:
            yield
        finally:
            self._inside.pop()

    def map_of(self, module: nnx.Module, x: jax.Array) -> jax.Array:
        """Collects the output of a module if its map has a name; returns it, shifted."""
        name = self._names.get(id(module))
        return x if name is None else self._shifted(name, x)

    def block(self, vit: ViT, index: int, tokens: jax.Array, *, hw: Any) -> jax.Array:
        """Collects the tokens that enter a block of the ViT; returns them, shifted."""
        if self._paths[id(vit)] != ("backbone", "vit"):
            return tokens
        self._blocks.append((tokens.shape[1], hw))
        return self._shifted("tokens", tokens) if index == vit.spec.depth - 1 else tokens

    def pooled(self, vit: ViT) -> None:
        """Notes that a ViT pools its tokens."""
        if self._paths[id(vit)] == ("backbone", "vit"):
            self._reads_cls = vit.cls is not None and vit.spec.pool == "cls"

    def read(self, maps: Mapping[int, jax.Array]) -> None:
        """Collects the maps that the head gets."""
        self._read = dict(maps)

    def pyramid(self, module: nnx.Module, levels: Mapping[int, jax.Array]) -> None:
        """Collects the levels of an FPN."""
        self._pyramids[joined(self._paths[id(module)])] = dict(levels)

    def attend(self, query, key, value, *, bias=None) -> jax.Array:
        """Computes attention and keeps its weights; takes the place of `attention`."""
        weights = _attention_weights(query, key, bias=bias)
        part, *path = self._inside[-1]
        if part == "backbone":
            self._attention.append(AttentionRecord(weights, tuple(path)))
        return _weighted_sum(weights, value)

    def seen(self, outputs: Any) -> Seen:
        """Returns all that was collected."""
        return Seen(
            outputs=outputs,
            read=self._read,
            maps=self._maps,
            attention=tuple(self._attention),
            pyramids=self._pyramids,
            blocks=tuple(self._blocks),
            reads_cls=self._reads_cls,
        )

    def _shifted(self, name: str, x: jax.Array) -> jax.Array:
        x = x + self._shifts[name].astype(x.dtype) if name in self._shifts else x
        self._maps[name] = x
        return x


def run_observed(
    graph: nnx.GraphDef,
    state: Any,
    images: jax.Array,
    *,
    shifts: Mapping[str, jax.Array] | None = None,
    **options: jax.Array | None,
) -> Seen:
    """Runs a model in evaluation and returns what was seen inside.

    Args:
        graph: of a `Hybrid`, by `nnx.split`.
        state: all its arrays.
        images: (B, H, W, 3), normalized.
        shifts: see `Observer`.
        options: of the call of the model.
    """
    model = nnx.merge(graph, state, copy=True)
    observer = Observer(shifts=shifts)
    observer.watch(model)
    with attention_by(observer.attend):
        return observer.seen(model(images, **options))


def joined(path: Path) -> str:
    """Returns a path as text."""
    return "/".join(map(str, path))


def _names_of_maps(resnet: ResNet) -> dict[int, str]:
    """Returns the names of the maps by the ids of the modules that give them."""
    if not resnet.stages:
        return {id(resnet.stem): "root"}
    return {
        id(stage.blocks[-1]): f"stage{number}"
        for number, stage in enumerate(resnet.stages, start=1)
    }


def _store_everything(module: nnx.Module) -> None:
    """Turns rematerialization and loops off: their insides cannot be seen from outside."""
    if isinstance(module, Bottleneck):
        module.remat = "none"
    if isinstance(module, ViT):
        module.spec = dataclasses.replace(module.spec, remat="none", block_loop="unrolled")


@functools.cache
def _reporting(kind: type) -> type:
    """Returns the subclass of a class of modules that reports to its observer."""

    def __call__(self: Any, *args, **options):
        with self._observer.running(self):
            result = kind.__call__(self, *args, **options)
        if issubclass(kind, FPN):
            self._observer.pyramid(self, result)
        # A bottleneck gives its map by `expand`, which fusions call by itself.
        if issubclass(kind, Bottleneck):
            return result
        return self._observer.map_of(self, result)

    def expand(self, *args, **options):
        return self._observer.map_of(self, kind.expand(self, *args, **options))

    def run_block(self, index, tokens, **options):
        tokens = self._observer.block(self, index, tokens, hw=options.get("hw"))
        return kind.run_block(self, index, tokens, **options)

    def pool_tokens(self, tokens):
        self._observer.pooled(self)
        return kind.pool_tokens(self, tokens)

    def features(self, *args, **options):
        found = kind.features(self, *args, **options)
        self._observer.read(found.maps)
        return found

    methods: dict[str, Callable] = dict(__call__=__call__)
    if issubclass(kind, Hybrid):
        methods["features"] = features
    if issubclass(kind, Bottleneck):
        methods["expand"] = expand
    if issubclass(kind, ViT):
        methods |= dict(run_block=run_block, pool_tokens=pool_tokens)
    make: Any = type(kind)  # Flax has a class of its own for classes of modules
    return make(kind.__name__, (kind,), methods)


def _attention_weights(
    query: jax.Array, key: jax.Array, *, bias: jax.Array | None = None
) -> jax.Array:
    """Returns the weights of every query over all keys, (B, heads, N, M) float32.

    Args:
        query: (B, N, heads, d).
        key: (B, M, heads, d).
        bias: added to the logits, broadcastable to (B, heads, N, M).
    """
    logits = jnp.einsum("bnhd,bmhd->bhnm", query, key, preferred_element_type=jnp.float32)
    logits = logits * query.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    return jax.nn.softmax(logits, axis=-1)


def _weighted_sum(weights: jax.Array, value: jax.Array) -> jax.Array:
    """Returns the output of attention, (B, N, heads, d) in the dtype of the values.

    Args:
        weights: (B, heads, N, M) float32, rounded to the dtype of the values first.
        value: (B, M, heads, d).
    """
    return jnp.einsum("bhnm,bmhd->bnhd", weights.astype(value.dtype), value)
