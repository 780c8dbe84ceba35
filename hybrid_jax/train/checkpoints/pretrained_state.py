"""Published weights in the state that a run begins with."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from hybrid_jax.pretrained.fill import Fill
from hybrid_jax.pretrained.load import leaves_by_path, put
from hybrid_jax.pretrained.load_report import Report
from hybrid_jax.pretrained.weights import Weights
from hybrid_jax.train.state import TrainState


def match_state(
    weights: Weights | None, model: Mapping[str, Any], shapes: TrainState
) -> tuple[tuple[Fill, ...], Report | None]:
    """Matches the files a config names with the shapes of its state.

    Raises:
        UserError: files that do not fit the model.
    """
    if weights is None:
        return (), None
    leaves = leaves_by_path(shapes.params) | leaves_by_path(shapes.mutable)
    fills, report = weights.match(model, {p: leaf.shape for p, leaf in leaves.items()})
    return tuple(fills), report


def fill_state(state: TrainState, fills: Iterable[Fill]) -> TrainState:
    """Puts the arrays of files in the place of initial values, averaged copy included.

    Each array goes to the devices that held the one it replaces, which is freed first.
    """
    for fill in fills:
        for path, array in fill.arrays():
            for tree in (state.params, state.mutable, state.ema):
                _replace(tree, path, array)
    return state


def _replace(tree: dict[str, Any] | None, path: str, array) -> None:
    *branches, last = path.split("/")
    node = tree or {}
    for name in branches:
        node = node.get(name, {})
    if last not in node:
        return
    old: jax.Array = node[last]
    sharding = old.sharding
    old.delete()
    node[last] = put(array, sharding)
