"""One training step and one evaluation step, as pure functions to be jitted."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hybrid_jax.contracts import Task
from hybrid_jax.models.layers.compute_dtype import cast_dtypes
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.train.optimization.freezing import fix_frozen_norms, join, paths_of, split
from hybrid_jax.train.optimization.optimizer import Optimizer, branch_of
from hybrid_jax.train.parallel.sharding import batch_sharding
from hybrid_jax.train.parallel.step_params import (
    mark_standardized,
    put_together,
    standardize_all,
    standardized_kernels,
)
from hybrid_jax.train.state import TrainState, merge_model, mutable_of, path_name
from hybrid_jax.train.training_loss import loss_on


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """What a step needs besides the model, the task and the optimizer.

    Attributes:
        seed: of all randomness; each step folds its own number in.
        accumulate: micro-batches per step; their gradients are summed in float32.
        ema_decay: of the averaged parameters, where the state has them.
        normalization: name of the image policy.
    """

    seed: int
    accumulate: int
    ema_decay: float
    normalization: str


def make_train_step(
    graph: nnx.GraphDef,
    task: Task,
    optimizer: Optimizer,
    *,
    options: StepOptions,
    mesh: Mesh,
    shardings: Mapping[str, Any],
) -> Callable[[TrainState, dict], tuple[TrainState, dict[str, jax.Array]]]:
    """Returns `step(state, batch) -> (state, scalars)`; `shardings` are the parameters'.

    The scalars are float32: `loss`, one `loss_<term>` for each term of it that the task
    names, `grad_norm`, and one `grad_norm_<branch>` for each branch that is trained. The
    loss is a mean over the whole batch. Frozen parameters come out as they went in, to the
    bit.
    """

    def loss_sum(trained, frozen, mutable, batch, key):
        params = join(trained, frozen)
        dtypes = cast_dtypes(merge_model(graph, params, mutable))
        params = put_together(params, shardings, dtypes)
        model = merge_model(graph, params, mutable)
        mark_standardized(model)
        fix_frozen_norms(model, paths_of(frozen))
        policy = options.normalization
        loss = loss_on(model, task, batch, key=key, normalization=policy)
        sums = dict(loss=loss.total) | {f"loss_{k}": v for k, v in loss.parts.items()}
        return loss.total, (sums, loss.count, mutable_of(model))

    grad_of_sum = jax.value_and_grad(loss_sum, has_aux=True)

    def accumulated(trained, frozen, mutable, batch, key):
        """Sums losses, counts and gradients over micro-batches, one at a time in memory."""
        parts = jax.tree.map(lambda x: _interleave(x, options.accumulate, mesh), batch)

        def body(carry, part):
            mutable, sums = carry
            batch, index = part
            (_, (*loss, mutable)), grads = grad_of_sum(
                trained, frozen, mutable, batch, jax.random.fold_in(key, index)
            )
            return (mutable, jax.tree.map(jnp.add, sums, (*loss, grads))), None

        first = jax.tree.map(lambda x: x[0], parts)
        (_, (*loss, _)), grads = jax.eval_shape(
            grad_of_sum, trained, frozen, mutable, first, key
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (*loss, grads))
        indices = jnp.arange(options.accumulate)
        (mutable, sums), _ = jax.lax.scan(body, (mutable, zeros), (parts, indices))
        return *sums, mutable

    def step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(jax.random.key(options.seed), state.step)
        trained, frozen = optimizer.split(state.params)
        kernels = standardized_kernels(merge_model(graph, state.params, state.mutable))
        prepared, pull = jax.vjp(lambda x: standardize_all(x, kernels), trained)
        model = (prepared, standardize_all(frozen, kernels), state.mutable)
        if options.accumulate > 1:
            sums, count, grads, mutable = accumulated(*model, batch, key)
        else:
            (_, (sums, count, mutable)), grads = grad_of_sum(*model, batch, key)
        (grads,) = pull(grads)
        count = jnp.maximum(count, 1.0)
        grads = jax.tree.map(lambda g: g / count, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        trained = cast(dict, optax.apply_updates(trained, updates))
        ema = state.ema
        if ema is not None:
            average, still = split(ema, paths_of(frozen))
            average = optax.incremental_update(trained, average, 1.0 - options.ema_decay)
            ema = join(cast(dict, average), still)
        params = join(trained, frozen)
        scalars = {name: total / count for name, total in sums.items()}
        scalars |= grad_norms(grads)
        return TrainState(state.step + 1, params, mutable, opt_state, ema), scalars

    return step


def make_eval_step(
    graph: nnx.GraphDef, task: Task, *, normalization: str
) -> Callable[[dict, dict, dict], Any]:
    """Returns `step(params, mutable, batch) -> (sums, predictions)` of one batch.

    The sums are the task's metrics; the predictions what its scorer needs, with `mask` and
    `index` of the batch, and `true_label`, the `label` of a batch that has it.
    """

    def step(params: dict, mutable: dict, batch: dict) -> tuple[Mapping, Mapping]:
        model = merge_model(graph, params, mutable)
        image = normalize_image(batch["image"], policy=normalization)
        outputs = task.infer(model, image, content_yxyx_px=batch.get("content_yxyx_px"))
        rows = {name: batch[name] for name in ("mask", "index")}
        if "label" in batch:
            rows["true_label"] = batch["label"]
        return task.metrics(outputs, batch), task.predict(outputs, batch) | rows

    return step


def grad_norms(grads: dict) -> dict[str, jax.Array]:
    """Returns the norm of all gradients and of each branch's."""
    squares: dict[str, jax.Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        branch = branch_of(path_name(path))
        squares[branch] = squares.get(branch, 0.0) + jnp.sum(jnp.square(leaf))
    norms = {f"grad_norm_{name}": jnp.sqrt(value) for name, value in squares.items()}
    return dict(grad_norm=jnp.sqrt(sum(squares.values()))) | norms


def _interleave(x: jax.Array, parts: int, mesh: Mesh) -> jax.Array:
    """Cuts (B, ...) into (parts, B / parts, ...), every part on all devices.

    Taking every parts-th row keeps each device's rows on that device; taking runs of rows
    would move most of the batch.
    """
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
    spec = PartitionSpec(None, *batch_sharding(mesh).spec)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))
