"""`--mode=profile`: the cost of a config, from shapes.

The model is traced and not built, so this takes seconds for a model of any size on any
machine. The stored residuals depend on the kernels of the backend on which it is traced: on
a GPU, fused attention does not store its weights.
"""

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from hybrid_jax.config import resolve
from hybrid_jax.contracts import Task
from hybrid_jax.data.blank_batch import blank_batch
from hybrid_jax.data.placeholder_source import train_split_or_placeholder
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.hybrid import build_model, part_specs
from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.models.layers.compute_dtype import cast_dtypes
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.profiling.description import PARTS, Attention, Description
from hybrid_jax.profiling.memory_estimate import StepMemory, residual_bytes, step_memory
from hybrid_jax.programs.flop_count import Origin, Product
from hybrid_jax.specs import resnet_spec, vit_spec
from hybrid_jax.train.experiment import make_task
from hybrid_jax.train.measuring.forward_pass import IMAGES, trace_forward
from hybrid_jax.train.optimization.freezing import paths_of
from hybrid_jax.train.optimization.optimizer import Optimizer, branch_of, make_optimizer
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.parallel.sharding import (
    AXES,
    check_batch_size,
    make_mesh,
    state_shardings,
)
from hybrid_jax.train.state import TrainState, make_init, merge_model, path_name
from hybrid_jax.train.training_loss import training_loss


def profile(config: ConfigDict, workdir: str) -> Description:
    """Prints and returns `describe(config)`. The workdir is not used.

    Raises:
        UserError: see `describe`.
    """
    del workdir
    description = describe(config)
    if is_main_process():
        print(description, flush=True)
    return description


def describe(
    config: ConfigDict, *, platform: str | None = None, devices: int | None = None
) -> Description:
    """Returns parameters, MACs, tokens and memory of a config without allocating arrays.

    Keys that depend on the hardware are resolved for this machine. `config.mesh` may have
    more devices than this machine.

    Args:
        config: from a file in `configs/` or `hybrid_jax.config.defaults`.
        platform: "cpu", "gpu" or "tpu"; None for this machine's.
        devices: number of devices; None for those of `config.mesh`, or of this machine.

    Raises:
        UserError: not a config, a value out of its range, an unknown name, an image too
            small for the model, or a batch that does not divide over the mesh.
    """
    platform = platform or jax.default_backend()
    config = _resolved(config, platform=platform)
    source, missing = train_split_or_placeholder(config.data)
    task = make_task(config, source.info)
    num_classes = task.num_classes(source.info)
    mesh = _planned_mesh(config, devices=devices)
    images, image_size = _images(config, mesh), tuple(config.data.image_size)
    optimizer, graph, shapes = _state(config, num_classes)
    features, flow = trace_forward(graph, shapes, image_size=image_size)
    memory = _memory(
        config, mesh, task=task, state=(optimizer, graph, shapes), platform=platform
    )
    notes = [f"described with {num_classes} classes, because {missing}"] if missing else []
    return Description(
        model=_model(config.model),
        num_classes=num_classes,
        image_size=image_size,
        dtype=config.model.dtype,
        params=_params_by_part(shapes.params),
        macs=_macs_by_part(flow.products),
        maps={s: (*hw_of(x), x.shape[-1]) for s, x in sorted(features.maps.items())},
        pooled=features.pooled.shape[-1],
        attention=_attentions(flow.products),
        memory=memory,
        bytes_per_image=memory.activations // images,
        devices=dict(mesh.shape),
        images_per_device=images,
        notes=(*notes, *dict.fromkeys(flow.uncounted)),
    )


def _resolved(config: ConfigDict, *, platform: str) -> ConfigDict:
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"describe: expected a config, such as hybrid_jax.config.defaults('tiny') or "
            f"the result of get_config() of a file in configs/, got {config!r}."
        )
    return resolve(config, on_cpu=platform == "cpu")


def _state(
    config: ConfigDict, num_classes: int
) -> tuple[Optimizer, nnx.GraphDef, TrainState]:
    """Traces the construction of a training state."""
    # The number of steps does not change the shapes of the state.
    optimizer = make_optimizer(config.optimizer, steps=config.train.steps or 1)
    graph, _, shapes = make_init(
        lambda rngs: build_model(
            config.model,
            num_classes=num_classes,
            image_size=tuple(config.data.image_size),
            rngs=rngs,
        ),
        optimizer,
        averaged=config.train.ema_decay > 0.0,
    )
    return optimizer, graph, shapes


def _memory(
    config: ConfigDict,
    mesh: Mesh | AbstractMesh,
    *,
    task: Task,
    state: tuple[Optimizer, nnx.GraphDef, TrainState],
    platform: str,
) -> StepMemory:
    """Returns the memory of a step on each device; `state` is of `_state`."""
    optimizer, graph, shapes = state
    images = _images(config, mesh)
    parts = optimizer.split(shapes.params)
    on_tpu = platform == "tpu"
    traced = images if on_tpu else 1  # elsewhere every image takes the same
    with tracing_for(platform):
        residuals = residual_bytes(
            training_loss(graph, task, normalization=config.model.normalization),
            *parts,
            shapes.mutable,
            batch=_rows(config, task, count=traced),
            images=traced,
            on_tpu=on_tpu,
        )
    return step_memory(
        shapes,
        state_shardings(shapes, mesh, min_elements=config.mesh.fsdp_min_elements),
        residuals,
        images=images,
        accumulate=config.train.accumulate,
        frozen=paths_of(parts[1]),
        dtypes=cast_dtypes(merge_model(graph, shapes.params, shapes.mutable)),
        on_tpu=on_tpu,
    )


def _images(config: ConfigDict, mesh: Mesh | AbstractMesh) -> int:
    """Returns how many images one device processes at a time."""
    rows = config.train.batch_size // (mesh.shape["data"] * mesh.shape["fsdp"])
    return rows // config.train.accumulate


def _rows(config: ConfigDict, task: Task, *, count: int) -> tuple[dict, Any]:
    """Returns the shapes of rows of a batch and of a random key."""
    row = blank_batch(config.data, targets=task.targets, batch_size=1)
    row, key = jax.eval_shape(lambda: (row, jax.random.key(0)))
    rows = {name: x.update(shape=(count, *x.shape[1:])) for name, x in row.items()}
    return rows, key


def _planned_mesh(config: ConfigDict, *, devices: int | None) -> Mesh | AbstractMesh:
    """Returns the mesh of a config after checking that batches divide over it."""
    mesh, train = _layout(config.mesh, devices=devices), config.train
    check_batch_size(
        "train.batch_size", train.batch_size, mesh, micro_batches=train.accumulate
    )
    return mesh


def _layout(axes: ConfigDict, *, devices: int | None) -> Mesh | AbstractMesh:
    """Returns a mesh of this machine's devices, or an abstract mesh of other sizes."""
    sizes = [int(axes[name]) for name in AXES]
    if devices is not None and sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = devices // math.prod(s for s in sizes if s != -1)
    if devices not in (None, math.prod(sizes)):
        raise UserError(
            f"config.mesh: expected sizes whose product is {devices} (devices), got "
            f"{', '.join(f'{name}={axes[name]}' for name in AXES)}. Set one axis to -1 to "
            f"let it take the rest."
        )
    if min(sizes) < 1:
        return make_mesh(axes.to_dict())
    return AbstractMesh(tuple(sizes), AXES)


def _model(model: ConfigDict) -> dict[str, str]:
    """Returns the names of the fusion, its parts and the head, with changed options."""
    resnet, vit = part_specs(model)
    names = dict(
        resnet=f"{model.resnet}{_changes(resnet_spec(model.resnet), resnet)}",
        vit=f"{model.vit}{_changes(vit_spec(model.vit), vit)}",
    )
    options = model.fusion_options.get(model.fusion, {})
    parts = {part: names[part] for part in FUSIONS.get(model.fusion).parts}
    return dict(fusion=f"{model.fusion}{_listed(options)}", **parts, head=model.head)


def _changes(usual, spec) -> str:
    usual = dataclasses.asdict(usual) | dict(dtype=spec.dtype)
    options = dataclasses.asdict(spec)
    return _listed({k: value for k, value in options.items() if value != usual[k]})


def _listed(options: Mapping[str, Any]) -> str:
    words = ", ".join(f"{name}={value}" for name, value in options.items())
    return f" ({words})" if words else ""


def _params_by_part(params: dict) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(PARTS, 0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        counts[branch_of(path_name(path))] += leaf.size
    return counts


def _macs_by_part(products: Iterable[Product]) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys((*PARTS, "attention", "constants"), 0)
    for product in products:
        counts[_part(product.left, product.right)] += product.macs
    return counts


def _part(*operands: Origin) -> str:
    """Returns the part whose parameters a product has; "fusion" if there are several."""
    weights = [origin for origin in operands if IMAGES not in origin]
    if not weights:
        return "attention"
    parts = frozenset.union(*weights)
    if not parts:
        return "constants"
    return next(iter(parts)) if len(parts) == 1 else "fusion"


def _attentions(products: list[Product]) -> tuple[Attention, ...]:
    """Returns attention layers: logits (N, M) followed by a sum over the M keys."""
    found: collections.Counter[tuple[int, int]] = collections.Counter()
    mixed = [p for p in products if IMAGES in p.left | p.right]
    for logits, values in zip(mixed, mixed[1:], strict=False):
        queries, keys = sorted(logits.free, key=lambda size: size == values.contracted)
        sizes = sorted((queries, logits.contracted))
        if (
            logits.batch
            and sorted(logits.batch) == sorted(values.batch)
            and keys == values.contracted
            and sizes == sorted(values.free)
        ):
            found[queries, keys] += logits.times
    longest = sorted(found, key=lambda size: size[0] * size[1], reverse=True)
    return tuple(Attention(*size, times=found[size]) for size in longest)
