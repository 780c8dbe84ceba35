"""Estimates the memory of a training step on each device from shapes.

It is the state plus the larger of two: the residuals of the forward pass
(`programs/residuals.py`), weights put together and workspace when the backward pass begins,
or all gradients when it ends. `benchmarks/topology_table.py` compares it with the TPU
compiler, whose figures `--mode=profile --topology=` prints after a minute or more.

Not counted: prefetched batches, and the memory that the mesh axis `tensor` saves.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Set
from typing import Any

import jax
import numpy as np

from hybrid_jax.programs.residuals import bytes_of, stored_residuals
from hybrid_jax.programs.tiles import tiled_bytes
from hybrid_jax.train.state import TrainState, path_name

_BATCH, _PARAMETERS = frozenset({"batch"}), frozenset({"parameters"})


@dataclasses.dataclass(frozen=True)
class ResidualBytes:
    """Bytes that the forward pass stores for the backward pass.

    Attributes:
        per_image: stored arrays per image.
        workspace: additional memory of the backward pass per image.
        row: one row of the batch.
    """

    per_image: int
    workspace: int = 0
    row: int = 0


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Bytes on one device.

    Attributes:
        parameters: parameters and running statistics, as sharded.
        gathered: parameters that lie in parts, put together (fsdp).
        optimizer: state of the optimizer.
        average: averaged parameters (EMA), if there are any.
        batch: one batch; each prefetched batch (`data.prefetch`) needs as much again.
        accumulated: sums of gradients over micro-batches, if there are several.
        gradients: gradients of all trained parameters.
        activations: residuals of the images that one device processes at a time.
        workspace: additional arrays and gradients of one operation of the backward pass.
    """

    parameters: int
    optimizer: int
    average: int
    batch: int
    accumulated: int
    gradients: int
    activations: int
    workspace: int
    gathered: int = 0

    @property
    def total(self) -> int:
        """The peak: activations are freed before all gradients exist."""
        state = self.parameters + self.optimizer + self.average
        throughout = state + self.batch + self.accumulated
        return throughout + max(
            self.gradients, self.gathered + self.activations + self.workspace
        )


def step_memory(
    shapes: TrainState,
    shardings: TrainState,
    residuals: ResidualBytes,
    *,
    images: int,
    accumulate: int,
    frozen: Set[str] = frozenset(),
    dtypes: Mapping[str, Any] | None = None,
    on_tpu: bool = False,
) -> StepMemory:
    """Returns the memory of a training step on one device.

    Args:
        shapes: shapes of the training state.
        shardings: shardings of the training state.
        residuals: from `residual_bytes`.
        images: images that one device processes at a time.
        accumulate: micro-batches per step.
        frozen: paths of parameters without gradients.
        dtypes: of parameters that lie in parts, where they are put together; see
            `models.layers.compute_dtype.cast_dtypes`.
        on_tpu: whether arrays lie in tiles.
    """

    def bytes_in(shape: tuple[int, ...], itemsize: int) -> int:
        if on_tpu:
            return tiled_bytes(shape, itemsize)
        return math.prod(shape) * itemsize

    def held(part: str, *, without: Set[str] = frozenset()) -> int:
        leaves = jax.tree_util.tree_leaves_with_path(getattr(shapes, part))
        spread = jax.tree.leaves(getattr(shardings, part))
        return sum(
            bytes_in(sharding.shard_shape(leaf.shape), leaf.dtype.itemsize)
            for (path, leaf), sharding in zip(leaves, spread, strict=True)
            if path_name(path) not in without
        )

    leaves = jax.tree_util.tree_leaves_with_path(shapes.params)
    spread = jax.tree.leaves(shardings.params)
    gathered = sum(
        bytes_in(leaf.shape, _itemsize((dtypes or {}).get(path_name(path), leaf.dtype)))
        for (path, leaf), sharding in zip(leaves, spread, strict=True)
        if "fsdp" in sharding.spec
    )
    gradients = held("params", without=frozen)
    return StepMemory(
        parameters=held("params") + held("mutable"),
        optimizer=held("opt_state"),
        average=held("ema"),
        batch=residuals.row * images * accumulate,
        accumulated=gradients if accumulate > 1 else 0,
        gradients=gradients,
        activations=residuals.per_image * images,
        workspace=residuals.workspace * images,
        gathered=gathered,
    )


def _itemsize(dtype: Any) -> int:
    return np.dtype(dtype).itemsize


def residual_bytes(
    loss: Callable[..., Any],
    trained: Any,
    *others: Any,
    batch: Any,
    images: int = 1,
    on_tpu: bool = False,
) -> ResidualBytes:
    """Traces a loss and returns the bytes of the residuals of its gradient.

    Parameters, running statistics and the batch itself are not counted.

    Args:
        loss: called as `loss(trained, *others, batch)` with trees of arrays.
        trained: shapes of the trained parameters.
        others: shapes of frozen parameters and of running statistics.
        batch: shapes of `images` rows of a batch.
        images: as above. On TPUs the padding of tiles depends on them.
        on_tpu: see `programs/residuals.py`.
    """

    def backward_inputs(trained, others, batch):
        _, backward = jax.vjp(lambda t: loss(t, *others, batch), trained)
        return jax.tree.leaves(backward)

    traced = jax.make_jaxpr(backward_inputs)(trained, others, batch)
    parameters = len(jax.tree.leaves((trained, others)))
    origins = [_PARAMETERS] * parameters + [_BATCH] * len(jax.tree.leaves(batch))
    found = stored_residuals(traced, origins, on_tpu=on_tpu)

    # Arrays that depend on parameters only, such as casts to the compute dtype, are not
    # counted: none is alive at the peak of the benchmark's compiled programs.
    stored = sum(array.held for array in found.arrays if array.origin >= _BATCH)
    rows = sum(bytes_of(leaf) for leaf in jax.tree.leaves(batch))
    return ResidualBytes(
        per_image=stored // images,
        workspace=found.workspace(_BATCH) // images,
        row=rows // images,
    )
