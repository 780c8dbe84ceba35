"""The training state: pure nested dicts of arrays, so that a step costs the host little.

Every `nnx.Variable` is a Python-level pytree node; a state of plain dicts crosses
`jax.jit` in a tenth of the time, and its string keys are what checkpoints and exports
want. The graph definition stays outside and is closed over.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx, struct

M = TypeVar("M", bound=nnx.Module)


@struct.dataclass
class TrainState:
    """Everything a run needs to go on.

    Attributes:
        step: () int32, steps done; data position and randomness are functions of it.
        params: nested dict of float32 parameters.
        mutable: nested dict of what the forward pass changes (running statistics).
        opt_state: of the optimizer.
        ema: averaged copy of `params`, or None.
    """

    step: jax.Array
    params: dict[str, Any]
    mutable: dict[str, Any]
    opt_state: Any
    ema: dict[str, Any] | None = None

    @property
    def eval_params(self) -> dict[str, Any]:
        """The parameters that are scored and handed on: averaged where there is a copy."""
        return self.params if self.ema is None else self.ema


def split_model(model: M) -> tuple[nnx.GraphDef[M], dict, dict]:
    """Returns the graph definition, the parameters and all other state as plain dicts."""
    graph, params, mutable = nnx.split(model, nnx.Param, ...)
    return graph, _pure(params), _pure(mutable)


def merge_model(graph: nnx.GraphDef[M], params: dict, mutable: dict) -> M:
    """Puts a model together again; free inside a traced function."""
    restore = nnx.restore_int_paths
    return nnx.merge(graph, restore(params), restore(mutable))


def mutable_of(model: nnx.Module) -> dict:
    """Returns the non-parameter state of a model that has just run."""
    return _pure(nnx.state(model, nnx.Not(nnx.Param)))


def make_init(
    build: Callable[[nnx.Rngs], nnx.Module],
    optimizer: Any,
    *,
    averaged: bool,
) -> tuple[nnx.GraphDef, Callable[[jax.Array], TrainState], TrainState]:
    """Traces the construction of a model without allocating anything.

    Args:
        build: builds the model from its random streams.
        optimizer: whatever has `init(params) -> opt_state`.
        averaged: whether the state carries an EMA of the parameters.

    Returns:
        The graph definition, `init(key) -> TrainState` to be jitted with shardings so
        that arrays are born sharded, and the state's shapes.
    """
    graphs = []

    def init(key: jax.Array) -> TrainState:
        graph, params, mutable = split_model(build(nnx.Rngs(params=key)))
        graphs.append(graph)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            mutable=mutable,
            opt_state=optimizer.init(params),
            ema=jax.tree.map(jnp.copy, params) if averaged else None,
        )

    shapes = jax.eval_shape(init, jax.random.key(0))
    return graphs[0], init, shapes


def path_name(path: tuple) -> str:
    """Returns a pytree path as `backbone/vit/blocks/0/attn/qkv/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _pure(state: nnx.State) -> dict[str, Any]:
    return _string_keys(nnx.to_pure_dict(state))


def _string_keys(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return {str(key): _string_keys(value) for key, value in node.items()}
