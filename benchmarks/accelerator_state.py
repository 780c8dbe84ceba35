"""A state to time a program with, made on the host in a second or two.

The library's own initialization is a program that has to be compiled for each case; on a
machine that is lent by the minute, that takes longer than the timing.
"""

from typing import Any

import jax
import numpy as np

from hybrid_jax.train.state import TrainState, path_name

# Last part of a path -> value; what scales or divides must not be near zero.
_ONES = ("scale", "var", "gamma")


def random_state(shapes: TrainState, shardings: TrainState) -> TrainState:
    """Returns parameters of small random numbers, and an optimizer at its start.

    Zeros would be faster than real parameters: a chip that multiplies zeros draws less
    power and lowers its clock less.
    """
    random = np.random.default_rng(0)

    def parameter(path: tuple, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if path_name(path).split("/")[-1] in _ONES:
            return np.ones(shape.shape, shape.dtype)
        if not np.issubdtype(shape.dtype, np.floating):
            return np.zeros(shape.shape, shape.dtype)
        drawn = random.standard_normal(shape.shape, np.float32)
        return (0.02 * drawn).astype(shape.dtype)

    def drawn(tree: Any) -> Any:
        return jax.tree_util.tree_map_with_path(parameter, tree)

    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    state = TrainState(
        step=zeros.step,
        params=drawn(shapes.params),
        mutable=drawn(shapes.mutable),
        opt_state=zeros.opt_state,
        ema=zeros.ema,
    )
    return jax.device_put(state, shardings)
