"""`load_pretrained`: builds a model from a file of published weights."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util

from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import Hybrid, build_model
from hybrid_jax.pretrained.dialect import Architecture, Hints
from hybrid_jax.pretrained.files.published_file import PublishedFile, open_published
from hybrid_jax.pretrained.fill import Fill, match
from hybrid_jax.pretrained.load_report import Report
from hybrid_jax.pretrained.model_branch import check_same_kind, model_branch
from hybrid_jax.pretrained.whole_model import check_whole_model

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
    prefix: str = "",
    seed: int = 0,
    placement: Placement | None = None,
    **overrides: Any,
) -> tuple[Hybrid, Report]:
    """Builds the model in a file and loads the file's weights.

    Args:
        source: a path (of shards: their index), or what else `local_file` takes.
        num_classes: K of the head; None for the file's.
        image_size: side or (height, width) in px to which learned positions are resized;
            None for the file's. The model accepts images of any other size too.
        head: "auto" loads the classifier if the number of classes is equal, else it starts
            at zero, without a tanh layer before it; "new" always starts it so.
        classes: index of the file's class for each class of the model, to load its row of
            the classifier, such as the 1,000 of ImageNet-1k among 21,843.
        strict: raise an error if parameters other than the head's are not in the file.
        num_heads: attention heads, if the file does not contain it (timm's).
        grid: (rows, columns) of the file's position table, where that cannot be told.
        prefix: beginning of the model's names, such as "teacher", if there are others.
        seed: seed of parameters that are not in the file.
        placement: (path, shape) -> sharding of an array; None for the default device.
        overrides: keys of `config.model`, such as `dtype="bfloat16"`,
            `vit_options=dict(drop_path=0.1)` or `resnet_options=dict(numerics="vit_jax")`.

    Returns:
        The model, and a report of all arrays: loaded, resized, new and dropped.

    Raises:
        UserError: no such file, a damaged file, or missing parameters.
    """
    _check_head(head)
    image_hw = _image_hw(image_size)
    hints = Hints(num_heads=num_heads, grid=grid, image_hw=image_hw, prefix=prefix)
    file = open_published(source, hints=hints)
    images = None if "normalization" in overrides else file.preprocessing()
    count = _class_count(file, num_classes, classes)
    if head == "new" or (classes is None and count != file.architecture.num_classes):
        overrides = {"head_options": _without_tanh_layer(file.architecture)} | overrides
    model = model_branch(file.architecture, **{"dtype": "float32", **overrides})
    check_same_kind(model, file, parts=("resnet", "vit"))
    size = image_hw or native_size(file.architecture)
    build = functools.partial(_build, model, num_classes=count, image_size=size)
    graph, shapes = _abstract(build)
    fill = _match(file, model, shapes, head=head, classes=classes)
    if strict:
        check_whole_model(fill.report, source=str(file.path))
    leaves = _filled(build, shapes, fill, seed=seed, placement=placement)
    report = fill.report.noting(f"dialect  {file.dialect}").preparing(images)
    return nnx.merge(graph, _state(leaves)), report


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
    """Returns the image size in px of the file's position table."""
    if architecture.grid is None:
        return 224, 224
    cell = {
        "sequential": architecture.options.get("stride"),
        "conv_stem": 4 * architecture.options.get("patch_size", 0),
    }.get(architecture.fusion) or architecture.given_vit.patch_size
    return architecture.grid[0] * cell, architecture.grid[1] * cell


def _without_tanh_layer(architecture: Architecture) -> dict[str, dict]:
    """Returns the options of a head that starts anew, as fine-tuning has it (ViT, 2020)."""
    has_layer = "representation_size" in architecture.head_options
    return {architecture.head: dict(representation_size=0)} if has_layer else {}


def _check_head(head: str) -> None:
    if head not in ("auto", "new"):
        raise UserError(f"load_pretrained: head: expected 'auto' or 'new', got {head!r}.")


def _class_count(file: PublishedFile, num_classes: int | None, classes) -> int:
    """Returns K of the model: `num_classes`, the number of `classes`, or the file's."""
    known = file.architecture.num_classes
    if classes is None:
        if not (num_classes or known):
            raise UserError(
                f"{file.path} has no classifier that can be loaded: pass num_classes=..."
            )
        return num_classes or known
    wrong = [c for c in classes if not 0 <= c < known]
    if wrong:
        raise UserError(
            f"load_pretrained: classes: expected indices of the file's {known:,} classes, "
            f"0 to {known - 1}, got {wrong[0]}."
        )
    if num_classes not in (None, len(classes)):
        raise UserError(
            f"load_pretrained: num_classes: expected {len(classes)}, the number of classes "
            f"given, got {num_classes}. Leave num_classes out."
        )
    return len(classes)


def _image_hw(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def _abstract(build) -> tuple[nnx.GraphDef, dict[str, jax.ShapeDtypeStruct]]:
    """Returns the graph and the shapes of all arrays by path, without allocating them."""
    model = nnx.eval_shape(lambda: build(seed=0))
    graph, state = nnx.split(model)
    return graph, leaves_by_path(nnx.to_pure_dict(state))


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a nested dict by path, such as `backbone/vit/blocks/0/…`."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found
    }


def _filled(
    build, shapes, fill: Fill, *, seed: int, placement: Placement | None
) -> dict[str, jax.Array]:
    """Returns all arrays by path: those of the file, and initial values of the others."""
    placed = {
        path: None if placement is None else placement(path, leaf.shape)
        for path, leaf in shapes.items()
    }
    missing = [path for path in shapes if path not in fill.taken]

    # Only missing arrays are computed: the compiler removes the others.
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
    """Puts a host array on devices; each device gets only its shard."""
    if sharding is None:
        return jnp.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda at: array[at])


def _state(leaves: dict[str, jax.Array]) -> dict:
    return nnx.restore_int_paths(traverse_util.unflatten_dict(leaves, sep="/"))
