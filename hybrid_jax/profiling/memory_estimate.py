"""What a training step keeps on each device, from shapes alone: an estimate.

Counted are the state and the more of two moments: when the backward pass begins, with every
array that the forward pass leaves for it (`programs/kept.py`) and room to work; and
when it ends, with all gradients. `benchmarks/topology_memory.py` compares with
the TPU compiler, whose word `--mode=profile --topology=` gives in a minute or more.

Not counted: parameters gathered for the moment of their use under fsdp, the next batches,
the padding of tiles, and what the mesh axis `tensor` saves of the activations.
"""

import dataclasses
import math
from collections.abc import Callable, Set
from typing import Any

import jax

from hybrid_jax.programs.kept import bytes_of, kept
from hybrid_jax.train.state import TrainState, path_name

_BATCH, _PARAMETERS = frozenset({"batch"}), frozenset({"parameters"})


@dataclasses.dataclass(frozen=True)
class Kept:
    """Bytes that the forward pass leaves for the backward pass.

    Attributes:
        per_image: arrays computed from the batch: they grow with it.
        workspace: for each image, what the backward pass needs beyond them while it works.
        row: one row of the batch.
    """

    per_image: int
    workspace: int = 0
    row: int = 0


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Bytes on one device.

    Attributes:
        parameters: with running statistics, as sharded.
        optimizer: its state.
        average: the EMA of the parameters, if there is one.
        batch: its rows; as many more for each that is kept ready (`data.prefetch`).
        accumulated: sums of gradients over micro-batches, if there are several.
        gradients: one for each parameter that is trained.
        activations: of the images that one device works on at a time.
        workspace: arrays that one operation of the backward pass works on, and gradients
            of them, beside all activations.
    """

    parameters: int
    optimizer: int
    average: int
    batch: int
    accumulated: int
    gradients: int
    activations: int
    workspace: int

    @property
    def total(self) -> int:
        """The most that is held at once: the last gradients come after the activations."""
        state = self.parameters + self.optimizer + self.average
        throughout = state + self.batch + self.accumulated
        return throughout + max(self.gradients, self.activations + self.workspace)


def step_memory(
    shapes: TrainState,
    shardings: TrainState,
    of_step: Kept,
    *,
    images: int,
    accumulate: int,
    frozen: Set[str] = frozenset(),
) -> StepMemory:
    """Adds up what one device holds.

    Args:
        shapes: of the state.
        shardings: of the state.
        of_step: from `kept_for_backward`.
        images: that one device works on at a time.
        accumulate: micro-batches per step.
        frozen: paths of parameters that get no gradients.
    """

    def held(part: str, *, without: Set[str] = frozenset()) -> int:
        leaves = jax.tree_util.tree_leaves_with_path(getattr(shapes, part))
        spread = jax.tree.leaves(getattr(shardings, part))
        return sum(
            math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for (path, leaf), sharding in zip(leaves, spread, strict=True)
            if path_name(path) not in without
        )

    gradients = held("params", without=frozen)
    return StepMemory(
        parameters=held("params") + held("mutable"),
        optimizer=held("opt_state"),
        average=held("ema"),
        batch=of_step.row * images * accumulate,
        accumulated=gradients if accumulate > 1 else 0,
        gradients=gradients,
        activations=of_step.per_image * images,
        workspace=of_step.workspace * images,
    )


def kept_for_backward(
    loss: Callable[..., Any], trained: Any, *others: Any, batch: Any
) -> Kept:
    """Traces a loss and sizes what its gradient by the trained parameters reads.

    Parameters, their running statistics and the batch are there anyway and not counted.

    Args:
        loss: called as `loss(trained, *others, batch)`, all trees of arrays.
        trained: shapes of what the gradient is taken by.
        others: shapes of frozen parameters and of running statistics.
        batch: shapes of what is computed from, one row.
    """

    def residuals(trained, others, batch):
        _, backward = jax.vjp(lambda t: loss(t, *others, batch), trained)
        return jax.tree.leaves(backward)

    traced = jax.make_jaxpr(residuals)(trained, others, batch)
    parameters = len(jax.tree.leaves((trained, others)))
    origins = [_PARAMETERS] * parameters + [_BATCH] * len(jax.tree.leaves(batch))
    found = kept(traced, origins)

    # What is computed from parameters alone, such as copies in the compute dtype, is
    # computed again: none is alive at the peak of the programs of the benchmark.
    per_image = sum(array.bytes for array in found.arrays if array.origin >= _BATCH)
    row = sum(bytes_of(leaf) for leaf in jax.tree.leaves(batch))
    return Kept(per_image=per_image, workspace=found.workspace(_BATCH), row=row)
