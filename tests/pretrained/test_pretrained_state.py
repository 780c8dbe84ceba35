"""Arrays of files in the place of a state's own, without a second copy of the state."""

import types

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hybrid_jax.train.checkpoints.pretrained_state import fill_state
from hybrid_jax.train.state import TrainState


def test_every_copy_is_replaced_where_it_was_and_the_old_one_freed():
    mesh = Mesh(np.array(jax.devices()), ("all",))
    spread = NamedSharding(mesh, PartitionSpec("all"))

    def tree(*paths):
        leaf = jax.device_put(np.zeros((16, 3), np.float32), spread)
        return {path: {"x": leaf + 0, "kept": leaf + 0} for path in paths}

    state = TrainState(
        step=0, params=tree("a"), mutable=tree("b"), opt_state=(), ema=tree("a")
    )
    old = jax.tree.map(lambda leaf: leaf, state)  # other dicts, the same arrays
    values = {f"{at}/x": np.full((16, 3), n, np.float32) for n, at in enumerate("ab", 1)}
    fill = types.SimpleNamespace(arrays=values.items)
    filled = fill_state(state, [fill])
    for part, at, value in (("params", "a", 1), ("mutable", "b", 2), ("ema", "a", 1)):
        before, after = getattr(old, part)[at], getattr(filled, part)[at]
        np.testing.assert_array_equal(after["x"], np.full((16, 3), value))
        assert after["x"].sharding == spread
        assert before["x"].is_deleted()
        assert after["kept"] is before["kept"]


def test_state_without_an_average_is_filled_too():
    state = TrainState(
        step=0, params={"a": {"x": jax.numpy.zeros(3)}}, mutable={}, opt_state=(), ema=None
    )
    fill = types.SimpleNamespace(arrays={"a/x": np.ones(3, np.float32)}.items)
    np.testing.assert_array_equal(fill_state(state, [fill]).params["a"]["x"], np.ones(3))
