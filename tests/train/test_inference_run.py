"""`inference_run`: the evaluation step of a folded run gives what the run's own gives."""

import functools

import jax
import numpy as np
import pytest
from etils import epath
from saved_run import config_of, saved

from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.inference_run import inference_run

HW = (8, 8)


# Both norms are folded on one device by default, see `test_trained_model.py`.
@pytest.mark.parametrize("norm", [pytest.param("group", marks=pytest.mark.slow), "batch"])
def test_folded_run_predicts_the_same_from_one_model_on_the_mesh(tmp_path, norm):
    changes = {
        "model.resnet_options.norm": norm,
        "train.ema_decay": 0.9,
        "mesh.data": 4,
        "mesh.fsdp": 2,
    }
    config = config_of("classification", changes)
    saved(epath.Path(tmp_path), config)
    experiment, state = restored_run(config, epath.Path(tmp_path))
    folded, lean = inference_run(experiment, state)
    assert lean.ema is None
    assert not jax.tree.leaves(lean.opt_state)
    assert bool(jax.tree.leaves(state.mutable)) == (norm == "batch")
    assert not jax.tree.leaves(lean.mutable)
    placed = jax.tree.map(lambda leaf: leaf.sharding, lean)
    assert placed == folded.shardings
    random = np.random.default_rng(0)
    rows = dict(
        image=random.integers(0, 255, (8, *HW, 3), np.uint8),
        label=random.integers(0, 10, 8),
        mask=np.ones(8, bool),
        index=np.arange(8),
    )
    batch = jax.device_put(rows, experiment.batch_sharding)
    expected = experiment.jitted_eval_step()(state.eval_params, state.mutable, batch)
    found = folded.jitted_eval_step()(lean.params, lean.mutable, batch)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, found, expected)
