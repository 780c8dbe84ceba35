"""A run whose numbers go bad ends before they are saved."""

import numpy as np
import pytest
from etils import epath
from small_run import command, rows, run, saved_steps, small_config

from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.measuring.finite_check import NonFiniteError, check_finite

FINE = dict(loss=1.5, grad_norm=2.0, grad_norm_vit=0.5)


def test_finite_numbers_pass():
    check_finite(7, FINE, learning_rate=0.1, last_saved=None)


@pytest.mark.parametrize("name", FINE)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_any_number_that_is_not_finite_stops_the_run(name, value):
    with pytest.raises(NonFiniteError) as caught:
        check_finite(7, FINE | {name: value}, learning_rate=0.25, last_saved=5)
    text = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert "step 7 is not finite (learning rate 0.25)" in text
    assert f"    {name} = {value}" in text
    assert all(f"    {other} = " in text for other in FINE)
    assert "the checkpoint of step 5 is from before it and intact" in text
    assert "Try a lower optimizer.learning_rate" in text


def test_message_says_when_nothing_was_saved():
    with pytest.raises(NonFiniteError, match="no checkpoint had been written yet"):
        check_finite(1, dict(loss=float("nan")), learning_rate=1.0, last_saved=None)


@pytest.mark.parametrize("every", [1, 5])
def test_exploding_run_ends_with_one_message_and_a_sound_checkpoint(tmp_path, every):
    changes = {
        "train.steps": 10,
        "log.every": every,  # the bad step is found at the next row, and named
        "checkpoint.every": 1 if every == 1 else 100,
        "optimizer.learning_rate": 1e30,
        "optimizer.warmup_fraction": 0.0,
    }
    done = run(command(tmp_path, changes))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "training stopped: step 2 is not finite (learning rate " in done.stderr
    for name in ("loss", "grad_norm", "grad_norm_resnet", "grad_norm_vit"):
        assert f"    {name} = " in done.stderr
    if every == 5:
        assert "no checkpoint had been written yet" in done.stderr
        assert not saved_steps(tmp_path)
        return
    assert "the checkpoint of step 1 is from before it and intact" in done.stderr
    assert saved_steps(tmp_path) == [1]
    assert [row["step"] for row in rows(tmp_path)] == [1]

    experiment = prepare(small_config(changes))
    checkpoints = Checkpoints(epath.Path(tmp_path), keep=1, best_metric="top1")
    state = checkpoints.restore(experiment.shapes, experiment.shardings)
    checkpoints.close()
    assert int(state.step) == 1
    assert np.isfinite(state.params["head"]["logits"]["kernel"]).all()
