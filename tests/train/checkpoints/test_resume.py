"""A run that is killed, stopped or damaged goes on as if nothing had happened.

Losses and gradient norms are compared as floats, without tolerance: data and randomness
are functions of the step, and a checkpoint holds every bit of the state.
"""

import functools
import pathlib
import random
import shutil
import signal
import sys
import time

import pytest
from small_run import (
    RANDOM,
    command,
    last_step,
    rows,
    run,
    run_well,
    saved_steps,
    start,
    wait_until,
)

STEPS, EVERY = 30, 6
BEST = 10  # saved for its score alone: the first one evaluated is the best so far
KEYS = RANDOM | {
    "train.steps": STEPS,
    "train.ema_decay": 0.9,
    "checkpoint.every": EVERY,
    "eval.every": BEST,
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> pathlib.Path:
    """The workdir of a run that nothing happened to, with all its checkpoints."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    run_well(command(workdir, KEYS | {"checkpoint.keep": 100}))
    return workdir


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(1000)
    print(f"seed {seed}")
    return random.Random(seed)


def stopped_after(step: int, run_dir: pathlib.Path, workdir: pathlib.Path):
    """Makes `workdir` what `run_dir` looked like after the checkpoint of `step`."""
    shutil.copytree(run_dir, workdir)
    for later in saved_steps(workdir):
        if later > step:
            shutil.rmtree(workdir / "checkpoints" / str(later))
    return workdir


def assert_same_run(workdir: pathlib.Path, uninterrupted: pathlib.Path):
    assert [row["step"] for row in rows(workdir)] == list(range(1, STEPS + 1))
    assert rows(workdir) == rows(uninterrupted)
    # A run asked to stop leaves out the evaluation of that step and makes up for it.
    assert rows(workdir, "validation") == rows(uninterrupted, "validation")


def test_uninterrupted_run_is_random_and_records_every_step(uninterrupted):
    losses = [row["loss"] for row in rows(uninterrupted)]
    assert len(losses) == STEPS
    # The first rate is 0.0 and the head starts at zero: two steps see constant logits.
    assert len(set(losses)) >= STEPS - 1
    assert [row["step"] for row in rows(uninterrupted, "validation")] == [10, 20, 30]


def test_stopped_and_killed_run_repeats_every_bit(uninterrupted, tmp_path, chance):
    """SIGTERM before the first checkpoint or after, then SIGKILL while one is written."""
    workdir, output = tmp_path / "run", tmp_path / "output"
    words = command(workdir, KEYS)
    with_page = command(workdir, KEYS | {"log.report_page": True})
    at = chance.randrange(1, 8)
    stopped = _stop_and_check(with_page, workdir, output, at, "SIGTERM", 0)
    told = output.read_text()
    assert told.index("; saved") < told.index(f"report: {workdir}/report.html")
    page = (workdir / "report.html").read_text()
    assert f"The run has not ended: it is at step {stopped} of {STEPS}." in page

    def saves_after_random_step():
        checkpoints = workdir / "checkpoints"
        return last_step(workdir) >= at and any(checkpoints.glob("*tmp*"))

    process = start(words, output=output)
    at = max(stopped + 1, chance.randrange(13, 18))
    wait_until(saves_after_random_step, process=process, output=output)
    time.sleep(chance.uniform(0.0, 0.05))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert f"continued from step {stopped}" in output.read_text()
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "split": "tra')

    done = run_well(words)
    assert "continued from step" in done.stdout
    assert_same_run(workdir, uninterrupted)
    assert not list((workdir / "checkpoints").glob("*tmp*"))


@pytest.mark.slow
def test_run_killed_at_any_step_repeats_every_bit(uninterrupted, tmp_path, chance):
    workdir, output = tmp_path / "run", tmp_path / "output"
    words = command(workdir, KEYS)
    process = start(words, output=output)
    at = chance.randrange(1, 13)
    wait_until(lambda: last_step(workdir) >= at, process=process, output=output)
    time.sleep(chance.uniform(0.0, 0.2))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    run_well(words)
    assert_same_run(workdir, uninterrupted)


@pytest.mark.slow
def test_interrupt_saves_and_the_run_goes_on(uninterrupted, tmp_path, chance):
    workdir, output = tmp_path / "run", tmp_path / "output"
    words, at = command(workdir, KEYS), chance.randrange(1, 20)
    stopped = _stop_and_check(words, workdir, output, at, "SIGINT", 130)
    assert f"continued from step {stopped}" in run_well(words).stdout
    assert_same_run(workdir, uninterrupted)


def _stop_and_check(words, workdir, output, at: int, name: str, status: int) -> int:
    """Sends a run a signal at step `at` or a little later; returns the step it saved."""
    process = start(words, output=output)
    wait_until(lambda: last_step(workdir) >= at, process=process, output=output)
    process.send_signal(signal.Signals[name])
    assert process.wait(timeout=60) == status, output.read_text()
    stopped = last_step(workdir)
    assert "Traceback" not in output.read_text()
    assert f"stopped by {name} after step {stopped}; saved" in output.read_text()
    assert saved_steps(workdir)[-1] == stopped
    return stopped


def _cut_biggest_file(checkpoint: pathlib.Path):
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    biggest = max(files, key=lambda path: path.stat().st_size)
    biggest.write_bytes(biggest.read_bytes()[: biggest.stat().st_size // 2])


def _remove(pattern: str, checkpoint: pathlib.Path):
    found = list(checkpoint.rglob(pattern))
    assert found, f"no {pattern} in {checkpoint}"
    for path in found:
        path.unlink()


DAMAGES = {
    "cut": _cut_biggest_file,
    "no_metadata": functools.partial(_remove, "_METADATA"),
    "no_manifest": functools.partial(_remove, "manifest.ocdbt"),
}


@pytest.mark.parametrize(
    "damage",
    [
        "cut",
        *(pytest.param(name, marks=pytest.mark.slow) for name in DAMAGES if name != "cut"),
    ],
)
def test_unreadable_newest_checkpoint_is_set_aside(uninterrupted, tmp_path, damage):
    workdir = stopped_after(24, uninterrupted, tmp_path / "run")
    DAMAGES[damage](workdir / "checkpoints/24")
    done = run_well(command(workdir, KEYS | {"checkpoint.keep": 100}))
    aside = workdir / "checkpoints_unreadable/24"
    assert "checkpoint of step 24 is unreadable (" in done.stdout
    assert f"was moved to {aside}\n" in done.stdout
    assert "continued from step 18" in done.stdout
    assert aside.is_dir()
    assert saved_steps(workdir)[-3:] == [18, 24, 30]
    assert_same_run(workdir, uninterrupted)


@pytest.mark.slow
def test_run_without_any_readable_checkpoint_says_so(uninterrupted, tmp_path):
    workdir = stopped_after(12, uninterrupted, tmp_path / "run")
    steps = [6, BEST, 12]
    assert saved_steps(workdir) == steps
    for step in steps:
        _cut_biggest_file(workdir / "checkpoints" / str(step))
    rows = (workdir / "metrics.jsonl").read_text()
    for _ in range(2):  # the second must not take an emptied workdir for a new one
        done = run(command(workdir, KEYS))
        assert done.returncode == 1
        assert f"none of the checkpoints {steps} can be read" in done.stderr
        assert "start again with another --workdir" in done.stderr
        assert saved_steps(workdir) == steps
        assert (workdir / "metrics.jsonl").read_text() == rows
    # uvloop inside TensorStore may complain on the way out, this library may not.
    assert "/hybrid_jax/" not in done.stderr


# 100 kB for a file: the metrics fit, the arrays do not.
FULL_DISK = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "failing"), [(6, BEST), (BEST, 12)], ids=["for_its_score", "for_its_step"]
)
def test_full_disk_ends_the_run_and_keeps_what_was_saved(
    uninterrupted, tmp_path, last, failing
):
    workdir = stopped_after(last, uninterrupted, tmp_path / "run")
    kept = saved_steps(workdir)
    words = command(
        workdir, KEYS | {"checkpoint.keep": 1}
    )  # none goes before the next is whole
    done = run([sys.executable, "-c", FULL_DISK, *words])
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"the checkpoint of step {failing} could not be written" in done.stderr
    assert str(workdir / "checkpoints") in done.stderr
    assert f"Earlier checkpoints are intact: {kept}" in done.stderr
    assert "/hybrid_jax/" not in done.stderr
    assert saved_steps(workdir) == kept

    done = run_well(words)
    assert f"continued from step {last}" in done.stdout
    assert_same_run(workdir, uninterrupted)


@pytest.mark.slow
def test_workdir_of_another_model_is_refused(uninterrupted):
    changes = {"model.vit_options.depth": 3, "optimizer.learning_rate": 0.5}
    before = (uninterrupted / "config.json").read_bytes()
    done = run(command(uninterrupted, KEYS | changes))
    assert done.returncode == 1
    assert f"{uninterrupted} holds another run; these keys differ:" in done.stderr
    assert "    model.vit_options.depth: there 2, here 3" in done.stderr
    assert "    optimizer.learning_rate: there 0.001, here 0.5" in done.stderr
    assert "or another --workdir" in done.stderr
    assert done.stderr.count(": there ") == 2
    assert (uninterrupted / "config.json").read_bytes() == before


@pytest.mark.slow
def test_finished_run_has_nothing_to_train(uninterrupted, tmp_path):
    workdir = stopped_after(STEPS, uninterrupted, tmp_path / "run")
    done = run_well(command(workdir, KEYS | {"checkpoint.keep": 100}))
    score = rows(workdir, "validation")[-1]["top1"]
    told = f"already at step {STEPS} of {STEPS}, top1 {score:.4f}: nothing to train"
    assert told in done.stdout
    assert "compiling the training step" not in done.stdout
    assert_same_run(workdir, uninterrupted)
    assert saved_steps(workdir) == saved_steps(uninterrupted)


@pytest.mark.slow
def test_finished_run_can_be_made_longer(uninterrupted, tmp_path):
    workdir = stopped_after(STEPS, uninterrupted, tmp_path / "run")
    changes = {"train.steps": 34, "log.every": 2, "eval.every": 34}
    done = run_well(command(workdir, KEYS | changes))
    assert f"continuing with config.train.steps = 34 (was {STEPS})" in done.stdout
    assert "continuing with config.log.every = 2 (was 1)" in done.stdout
    assert f"continued from step {STEPS}" in done.stdout
    assert [row["step"] for row in rows(workdir)][STEPS:] == [32, 34]
    assert rows(workdir, "validation")[-1]["step"] == 34
