"""`load_pretrained`: a file of published weights becomes a model, with a report."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import Hybrid, build_model
from hybrid_jax.pretrained.dialect import Architecture, Hints
from hybrid_jax.pretrained.fill import Fill, match
from hybrid_jax.pretrained.load_report import Report
from hybrid_jax.pretrained.model_branch import check_same_kind, model_branch
from hybrid_jax.pretrained.published_file import PublishedFile, open_published

Placement = Callable[[str, tuple[int, ...]], jax.sharding.Sharding]


def load_pretrained(
    source: str | pathlib.Path,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    head: str = "auto",
    classes: Sequence[int] | None = None,
    strict: bool = True,
    num_heads: int | None = None,
    grid: tuple[int, int] | None = None,
    seed: int = 0,
    placement: Placement | None = None,
    **overrides: Any,
) -> tuple[Hybrid, Report]:
    """Builds the model that a file holds and fills it with the file's weights.

    Args:
        source: a path, `hf://owner/name`, `gs://bucket/file`, or a name of
            `list_pretrained()`.
        num_classes: K of the head; the file's if None.
        image_size: side or (height, width) in px that learned positions are fitted to;
            the file's own if None. The model takes any other size too.
        head: "auto" keeps the classifier if the classes are as many and starts it at zero
            otherwise; "new" always starts it at zero.
        classes: the file's class for each class of the model, such as the 1,000 of
            ImageNet-1k among 21,843: their rows of the classifier are taken.
        strict: refuse a model with parameters, the head's apart, that the file lacks.
        heads: attention heads, for files that do not tell (timm's of unusual widths).
        grid: (rows, columns) of the file's position table, if it is not a square.
        seed: of parameters that are not in the file.
        placement: (path, shape) -> the sharding an array is put under, such as one over
            the devices of a mesh; None puts all on the default device.
        overrides: keys of `config.model`, such as `dtype="bfloat16"`,
            `vit_options=dict(drop_path=0.1)` or `resnet_options=dict(numerics="vit_jax")`.

    Returns:
        The model, and a report of what was loaded, resized, new and dropped.

    Raises:
        UserError: no such file, a damaged one, or one that does not fill the model.
    """
    _check_head(head)
    file = open_published(source, hints=Hints(num_heads=num_heads, grid=grid))
    architecture = file.architecture
    images = None if "normalization" in overrides else file.preprocessing()
    model = model_branch(architecture, **({"dtype": "float32"} | overrides))
    check_same_kind(model, file, parts=("resnet", "vit"))
    build = functools.partial(
        _build,
        model,
        num_classes=_class_count(file, num_classes, classes),
        image_size=_image_hw(image_size) or native_size(architecture),
    )
    graph, shapes = _abstract(build)
    fill = _match(file, model, shapes, head=head, classes=classes)
    if strict:
        fill.report.check_whole(source=str(file.path))
    leaves = _filled(build, shapes, fill, seed=seed, placement=placement)
    report = fill.report.noting(f"dialect  {file.dialect}")
    return nnx.merge(graph, _state(leaves)), report.preparing(images)


def _match(file: PublishedFile, model, shapes, *, head: str, classes) -> Fill:
    return match(
        file.stored,
        file.entries,
        {path: leaf.shape for path, leaf in shapes.items()},
        resize=model.vit_options.position_resize,
        head=head,
        classes=None if classes is None else tuple(classes),
    )


def _build(model, *, seed: int, num_classes: int, image_size: tuple[int, int]) -> Hybrid:
    return build_model(
        model,
        num_classes=num_classes,
        image_size=image_size,
        rngs=nnx.Rngs(params=seed),
    )


def native_size(architecture: Architecture) -> tuple[int, int]:
    """Returns the image size in px that the file's positions were made for."""
    if architecture.grid is None:
        return 224, 224
    cell = {
        "sequential": architecture.options.get("stride"),
        "conv_stem": 4 * architecture.options.get("patch_size", 0),
    }.get(architecture.fusion) or architecture.vit.patch_size
    return architecture.grid[0] * cell, architecture.grid[1] * cell


def _check_head(head: str) -> None:
    if head not in ("auto", "new"):
        raise UserError(f"load_pretrained: head: expected 'auto' or 'new', got {head!r}.")


def _class_count(file: PublishedFile, num_classes: int | None, classes) -> int:
    """Returns K of the model: the caller's, the number chosen, or the file's own."""
    known = file.architecture.num_classes
    if classes is None:
        if not (num_classes or known):
            raise UserError(
                f"{file.path} has no classifier that can be kept: pass num_classes=."
            )
        return num_classes or known
    wrong = [c for c in classes if not 0 <= c < known]
    if wrong:
        raise UserError(
            f"load_pretrained: classes: {wrong[0]} is not among the file's {known:,} "
            f"classes, 0 to {known - 1}."
        )
    if num_classes not in (None, len(classes)):
        raise UserError(
            f"load_pretrained: {len(classes)} classes are chosen, but num_classes is "
            f"{num_classes}. Leave num_classes out."
        )
    return len(classes)


def _image_hw(image_size) -> tuple[int, int] | None:
    return (image_size,) * 2 if isinstance(image_size, int) else image_size


def _abstract(build) -> tuple[nnx.GraphDef, dict[str, jax.ShapeDtypeStruct]]:
    """Returns the graph and every array's shape by path; nothing is allocated."""
    model = nnx.eval_shape(lambda: build(seed=0))
    graph, state = nnx.split(model)
    return graph, leaves_by_path(nnx.to_pure_dict(state))


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a nested dict by `backbone/vit/blocks/0/…`."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found
    }


def _filled(
    build, shapes, fill: Fill, *, seed: int, placement: Placement | None
) -> dict[str, jax.Array]:
    """Returns every array by path: the file's, and initial values where it has none."""
    placement = placement or (lambda path, shape: None)
    placed = {path: placement(path, leaf.shape) for path, leaf in shapes.items()}
    missing = [path for path in shapes if path not in fill.taken]

    # Only what the file lacks is computed: the compiler drops the rest.
    def initial() -> dict[str, jax.Array]:
        state = nnx.state(build(seed=seed))
        leaves = leaves_by_path(nnx.to_pure_dict(state))
        return {path: leaves[path] for path in missing}

    leaves = {}
    if missing:
        leaves = jax.jit(initial, out_shardings={p: placed[p] for p in missing})()
    for path, array in fill.arrays():
        leaves[path] = put(array, placed[path])
    return {path: leaves[path] for path in shapes}


def put(array, sharding: jax.sharding.Sharding | None) -> jax.Array:
    """Puts a host array under a sharding; every device gets its own share alone."""
    if sharding is None:
        return jnp.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda at: array[at])


def _state(leaves: dict[str, jax.Array]) -> dict:
    tree: dict = {}
    for path, leaf in leaves.items():
        *branches, last = path.split("/")
        node = tree
        for name in branches:
            node = node.setdefault(name, {})
        node[last] = leaf
    return nnx.restore_int_paths(tree)
