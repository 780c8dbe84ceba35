"""Checkpoints whose arrays have the shapes of earlier versions."""

import jax
import numpy as np
from etils import epath
from toy_task import ONE_BLOCK
from train_examples import noise_state, small_experiment

from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.checkpoints.older_layouts import older_shape
from hybrid_jax.train.state import path_name


def test_only_the_joint_projection_had_another_shape():
    block = "params/backbone/vit/blocks/0/attn"
    assert older_shape(f"{block}/qkv/kernel", (32, 3, 32)) == (32, 96)
    assert older_shape(f"{block}/qkv/bias", (3, 32)) == (96,)
    assert older_shape(f"{block}/out/kernel", (32, 32)) == (32, 32)
    assert older_shape("opt_state/0/mu/head/logits/kernel", (32, 10)) == (32, 10)


def test_state_with_older_shapes_is_restored(tmp_path):
    changes = ONE_BLOCK | {"train.ema_decay": 0.9}
    experiment = small_experiment(changes, mesh="data2_fsdp2_tensor2")
    state = noise_state(experiment)

    def older(path, leaf):
        leaf = np.asarray(leaf)
        return leaf.reshape(older_shape(path_name(path), leaf.shape))

    saved = jax.tree_util.tree_map_with_path(older, state)
    changed = [
        path_name(path)
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(saved), strict=True
        )
        if a.shape != b.shape
    ]
    # Kernel and bias of the block, their two moments and their average.
    assert len(changed) == 2 * 4
    options = dict(keep=1, best_metric="")
    writer = Checkpoints(epath.Path(tmp_path), **options)
    writer.save(7, saved)
    writer.close()
    reader = Checkpoints(epath.Path(tmp_path), **options)
    restored = reader.restore(experiment.shapes, experiment.shardings)
    reader.close()
    for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert ours.sharding == theirs.sharding
        np.testing.assert_array_equal(ours, theirs)
