"""What is kept, what is found again, and what is refused."""

import contextlib
import re

import jax
import pytest
from etils import epath
from jax.experimental import multihost_utils
from small_run import saved_steps
from toy_task import ONE_BLOCK
from train_examples import (
    assert_trees_equal,
    noise_state,
    on_host,
    small_experiment,
)

from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.measuring.finite_check import NonFiniteError

AVERAGED = ONE_BLOCK | {"train.ema_decay": 0.9}


@pytest.fixture(scope="module")
def experiment():
    return small_experiment(AVERAGED, mesh="single")


@pytest.fixture(scope="module")
def state(experiment):
    return noise_state(experiment)


def open_checkpoints(path, *, keep=1, best_metric="top1", **options) -> Checkpoints:
    return Checkpoints(epath.Path(path), keep=keep, best_metric=best_metric, **options)


def at_step(state, step: int):
    """Returns the state with a step and first parameters that tell it apart."""
    leaves, tree = jax.tree.flatten(state.params)
    params = jax.tree.unflatten(tree, [leaves[0] + step, *leaves[1:]])
    return state.replace(step=state.step * 0 + step, params=params)


@pytest.fixture(scope="module")
def scored(tmp_path_factory, state):
    """Steps 1 to 6; evaluated at 2, 4 and 6, best at 2."""
    path = tmp_path_factory.mktemp("scored")
    checkpoints = open_checkpoints(path, keep=2)
    for step, score in [(1, None), (2, 0.9), (3, None), (4, 0.5), (5, None), (6, 0.7)]:
        scores = None if score is None else dict(top1=score, loss=1.0 - score)
        checkpoints.save(step, at_step(state, step), scores=scores)
    checkpoints.close()
    return path


def test_newest_and_best_are_kept(scored):
    assert saved_steps(scored) == [2, 5, 6]


def test_best_is_known_after_reopening(scored):
    checkpoints = open_checkpoints(scored, keep=2)
    assert checkpoints.steps() == [2, 5, 6]
    assert checkpoints.best() == (2, 0.9)
    checkpoints.close()


@pytest.mark.parametrize(("which", "step"), [("best", 2), ("last", 6)])
def test_restore_returns_the_checkpoint_asked_for(scored, experiment, state, which, step):
    checkpoints = open_checkpoints(scored, keep=2, read_only=True)
    found = checkpoints.restore(experiment.shapes, experiment.shardings, which=which)
    checkpoints.close()
    assert int(found.step) == step
    assert_trees_equal(on_host(found), on_host(at_step(state, step)))


def test_best_is_the_last_where_nothing_was_scored(tmp_path, experiment, state):
    checkpoints = open_checkpoints(tmp_path, keep=2)
    assert checkpoints.best() is None
    for step in (3, 4):
        checkpoints.save(step, at_step(state, step))
    checkpoints.wait()
    found = checkpoints.restore(experiment.shapes, experiment.shardings, which="best")
    checkpoints.close()
    assert int(found.step) == 4


def test_later_better_score_replaces_the_best(tmp_path, state):
    checkpoints = open_checkpoints(tmp_path)
    for step, score in [(1, 0.2), (2, 0.8), (3, 0.4)]:
        checkpoints.save(step, at_step(state, step), scores=dict(top1=score))
    checkpoints.close()
    assert saved_steps(tmp_path) == [2, 3]


def test_empty_metric_keeps_only_the_newest(tmp_path, state):
    checkpoints = open_checkpoints(tmp_path, best_metric="")
    for step, score in [(1, 0.9), (2, 0.1)]:
        checkpoints.save(step, at_step(state, step), scores=dict(top1=score))
    assert checkpoints.best() is None
    checkpoints.close()
    assert saved_steps(tmp_path) == [2]


def test_new_workdir_has_nothing_to_restore(tmp_path, experiment):
    checkpoints = open_checkpoints(tmp_path)
    assert checkpoints.restore(experiment.shapes, experiment.shardings) is None
    checkpoints.close()


@pytest.mark.parametrize("mesh", ["single", "fsdp8"])
def test_saved_state_may_be_donated_at_once(tmp_path, mesh):
    experiment = small_experiment(AVERAGED, mesh=mesh)
    state = noise_state(experiment)
    expected = on_host(state)
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(1, state)
    for leaf in jax.tree.leaves(state):
        leaf.delete()
    checkpoints.wait()
    found = checkpoints.restore(experiment.shapes, experiment.shardings)
    checkpoints.close()
    assert_trees_equal(on_host(found), expected)


def test_state_moves_between_meshes_unchanged(tmp_path, state):
    expected = on_host(state)
    # From one device to eight, and from one division to another.
    for number, mesh in enumerate(("data2_fsdp2_tensor2", "fsdp8")):
        other = small_experiment(AVERAGED, mesh=mesh)
        checkpoints = open_checkpoints(tmp_path / str(number))
        checkpoints.save(2, state)
        checkpoints.wait()
        state = checkpoints.restore(other.shapes, other.shardings)
        checkpoints.close()
        assert_trees_equal(on_host(state), expected)
        placed = jax.tree.map(
            lambda leaf, wanted: leaf.sharding.is_equivalent_to(wanted, leaf.ndim),
            state,
            other.shardings,
        )
        assert all(jax.tree.leaves(placed))


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            AVERAGED | {"optimizer.name": "sgd"},
            ["opt_state/1/count: saved (), expected nothing", "opt_state/1/mu/backbone/"],
        ),
        (
            ONE_BLOCK,
            ["ema/backbone/vit/blocks/0/attn/out/kernel: saved (32, 32), expected nothing"],
        ),
        (
            AVERAGED | {"model.vit_options.mlp_dim": 48},
            ["mlp/fc1/bias: saved (64,), expected (48,)", "; 12 arrays differ, e.g."],
        ),
    ],
    ids=["optimizer", "no_ema", "mlp_dim"],
)
def test_checkpoint_of_another_state_is_refused(scored, changes, lines):
    other = small_experiment(changes)
    checkpoints = open_checkpoints(scored, keep=2, read_only=True)
    expected = f"{scored}/checkpoints/6 holds the state of another model or optimizer"
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        checkpoints.restore(other.shapes, other.shardings)
    checkpoints.close()
    for line in lines:
        assert line in str(caught.value)
    assert "Use the config it was trained with, or another --workdir." in str(caught.value)


def test_reading_only_moves_nothing(tmp_path, experiment, state, capsys):
    checkpoints = open_checkpoints(tmp_path, keep=3)
    for step in (1, 2):
        checkpoints.save(step, at_step(state, step))
    checkpoints.close()
    for path in (tmp_path / "checkpoints/2").rglob("*"):
        if path.is_file() and path.stat().st_size > 10_000 and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[:1000])
    checkpoints = open_checkpoints(tmp_path, keep=3, read_only=True)
    found = checkpoints.restore(experiment.shapes, experiment.shardings)
    checkpoints.close()
    assert int(found.step) == 1
    assert "checkpoint of step 2 is unreadable" in capsys.readouterr().out
    assert saved_steps(tmp_path) == [1, 2]
    assert not (tmp_path / "checkpoints_unreadable").exists()


def test_failed_write_names_step_path_and_what_is_intact(tmp_path, state, monkeypatch):
    checkpoints = open_checkpoints(tmp_path, keep=3)
    checkpoints.save(1, at_step(state, 1))
    checkpoints.wait()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._orbax, "save_async", full)
    with pytest.raises(UserError) as caught:
        checkpoints.save(2, at_step(state, 2))
    assert f"{tmp_path}/checkpoints: the checkpoint of step 2 could not be written " in (
        str(caught.value)
    )
    assert "([Errno 28] No space left on device)" in str(caught.value)
    assert "Earlier checkpoints are intact: [1]." in str(caught.value)
    monkeypatch.undo()
    checkpoints.close()


def test_best_loss_is_the_lowest_and_other_metrics_can_be_asked_later(tmp_path, state):
    checkpoints = open_checkpoints(tmp_path, best_metric="loss", keep=2)
    for step, loss, top1 in ((1, 0.5, 0.1), (2, 0.2, 0.2), (3, 0.4, 0.3)):
        checkpoints.save(step, state, scores={"loss": loss, "top1": top1})
    checkpoints.wait()
    assert checkpoints.best() == (2, 0.2)
    checkpoints.close()
    reopened = open_checkpoints(tmp_path, best_metric="top1", keep=2)
    assert reopened.best() == (3, 0.3)
    reopened.close()


@pytest.mark.parametrize(
    ("error", "several", "closed"),
    [
        (None, True, True),
        (UserError("the disk of one process is full"), False, True),
        (UserError("the disk of one process is full"), True, False),
        (NonFiniteError("the loss, which all processes know"), True, True),
    ],
)
def test_failed_process_of_several_does_not_wait_for_the_others(
    tmp_path, monkeypatch, error, several, closed
):
    checkpoints = open_checkpoints(tmp_path)
    monkeypatch.setattr(jax, "process_count", lambda: 2 if several else 1)
    done = []
    monkeypatch.setattr(checkpoints, "close", lambda: done.append("closed"))
    monkeypatch.setattr(multihost_utils, "sync_global_devices", done.append)
    expected = pytest.raises(UserError) if error else contextlib.nullcontext()
    with expected, checkpoints:
        if error:
            raise error
    assert ("closed" in done) == closed
    # Whoever has written its part waits until the main process has named the whole.
    assert ("last checkpoint written" in done) == isinstance(error, NonFiniteError)
    monkeypatch.undo()
    checkpoints.close()
