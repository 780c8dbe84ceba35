"""What studies do with processes: each run once, whatever is killed, none dropped."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
import stub_study
from forked_process import ForkedProcess
from small_run import ROOT
from stub_study import TWO_SEEDS, carry_out, saved

from hybrid_jax.studies.running.run_lock import RunLock


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    carry_out(workdir, seeds=TWO_SEEDS)
    return workdir


def started(workdir):
    """Returns how often each run was begun, trainings and scorings apart."""
    files = (workdir / "runs").glob("*/starts*.txt")
    return {str(f.relative_to(workdir)): len(f.read_text().splitlines()) for f in files}


def begin(workdir, *, jobs=1, seconds, gate="", stderr=sys.__stderr__):
    folders = (ROOT, ROOT / "tests", pathlib.Path(stub_study.__file__).parent)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "STUB_SECONDS": str(seconds),
        "STUB_GATE": str(gate),
    }
    words = [sys.executable, "-m", "stub_study", str(workdir), str(jobs)]
    with open(os.devnull, "w") as nothing:
        files = dict(stdout=nothing, stderr=stderr)
        return ForkedProcess(words, **files, env=environment)


def is_held(folder):
    lock = RunLock.take(folder)
    if lock is not None:
        lock.close()
    return lock is None


def test_every_run_is_once_and_test_is_scored_with_chosen_settings_alone(whole):
    counts = started(whole)
    assert set(counts.values()) == {1}
    # Three variants with two rates, the better one with one more seed; two scorings.
    assert sum("startstest" in name for name in counts) == 6
    assert sum("starts.txt" in name for name in counts) == 6 + 3


def test_same_command_again_runs_nothing(whole):
    before, counts = saved(whole), started(whole)
    (whole / "study.json").unlink()
    carry_out(whole, seeds=TWO_SEEDS)
    assert saved(whole) == before
    assert started(whole) == counts


def test_killed_study_goes_on_to_the_same_report(whole, tmp_path):
    # The runs that are going on when the study is killed end when this test lets them.
    gate = tmp_path / "gate"
    process = begin(tmp_path, jobs=2, seconds=0.1, gate=gate)
    deadline = time.monotonic() + 120
    while not (
        len(list(tmp_path.glob("runs/*/result.json"))) >= 3
        and list(tmp_path.glob("runs/*/running"))
    ):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What runs still has its lock, so that the next study waits for it.
    assert any(is_held(file.parent) for file in tmp_path.glob("runs/*/running"))
    assert not (tmp_path / "study.json").exists()
    threading.Timer(0.5, gate.touch).start()
    carry_out(tmp_path, seeds=TWO_SEEDS)
    assert not list(tmp_path.glob("runs/*/overlap"))  # with runs that outlived the study
    assert saved(tmp_path) == saved(whole)


def test_two_studies_on_one_workdir_share_the_runs(whole, tmp_path):
    both = [begin(tmp_path, jobs=2, seconds=0.05) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert not list(tmp_path.glob("runs/*/overlap"))
    counts = started(tmp_path)
    assert set(counts.values()) == {1}
    assert len(counts) == len(started(whole))
    assert saved(tmp_path) == saved(whole)


def test_lock_stays_with_a_run_whose_study_is_gone(tmp_path):
    lock = RunLock.take(tmp_path)
    run = subprocess.Popen(["sleep", "60"], pass_fds=[lock.file])
    lock.close()
    assert RunLock.take(tmp_path) is None
    run.kill()
    run.wait()
    again = RunLock.take(tmp_path)
    assert again is not None
    again.close()


def test_file_of_a_dead_process_is_no_lock(tmp_path):
    (tmp_path / "lock").write_text("process 1 on elsewhere\n")
    lock = RunLock.take(tmp_path)
    assert lock is not None
    assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    lock.close()


@pytest.mark.parametrize(
    ("fusion", "status"), [("conformer", "diverged"), ("bifusion", "failed")]
)
def test_what_does_not_finish_is_reported(tmp_path, fusion, status):
    variants = {
        "resnet": {"model.fusion": "resnet"},
        "other": {"model.fusion": fusion},
    }
    found = carry_out(tmp_path, variants=variants, seeds=(0, 1))
    other = found["variants"]["other"]
    assert other["outcomes"] == dict(trials={status: 2}, final={})
    assert other["setting"] is None
    runs = [run for run in found["runs"] if run["variant"] == "other"]
    assert [run["validation"]["status"] for run in runs] == [status, status]
    row = "| `other` | none finished |"
    assert row in (tmp_path / "study.md").read_text()
    assert f"2 of 2 trials {status}" in (tmp_path / "study.md").read_text()


def test_failed_runs_are_repeated_when_asked(tmp_path):
    variants = {"resnet": {}, "other": {"model.fusion": "bifusion"}}
    variants["diverged"] = {"model.fusion": "conformer"}
    options = dict(variants=variants, seeds=(0,), grid={"optimizer.learning_rate": (1e-3,)})
    carry_out(tmp_path, **options)
    carry_out(tmp_path, **options)
    assert set(started(tmp_path).values()) == {1}
    carry_out(tmp_path, **options, retry_failed=True)
    counts = started(tmp_path)
    again = [name.split("/")[1].partition("-")[0] for name, n in counts.items() if n > 1]
    assert again == ["other"]


def test_results_hold_scores_and_times(whole):
    result = json.loads(next(whole.glob("runs/*/result.json")).read_text())
    assert result["status"] == "finished"
    assert result["time"]["images_per_second"] == 100.0
    assert not result["time"]["resumed"]


@pytest.mark.parametrize("saved_before", [True, False])
def test_run_is_resumed_if_it_had_saved_something(tmp_path, saved_before):
    options = dict(variants={"resnet": {}}, seeds=(0,))
    options |= dict(grid={"optimizer.learning_rate": (1e-3,)})
    carry_out(tmp_path, **options)
    (file,) = tmp_path.glob("runs/*/result.json")  # its output is there as well
    file.unlink()
    if saved_before:
        (file.parent / "checkpoints" / "3").mkdir(parents=True)
    carry_out(tmp_path, **options)
    assert json.loads(file.read_text())["time"]["resumed"] == saved_before


def test_sigterm_stops_the_runs_and_records_nothing_of_them(whole, tmp_path):
    with (tmp_path / "stderr.txt").open("w") as errors:
        process = begin(tmp_path, jobs=2, seconds=3, stderr=errors)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("runs/*/running"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    expected = "stopped: 0 of 6 runs are done; of 2 more, what was trained so far "
    expected += "is saved. The same command goes on"
    assert expected in (tmp_path / "stderr.txt").read_text()
    files = list(tmp_path.glob("runs/*/running"))
    assert len(files) == 2  # they were ended before they could remove them
    assert not list(tmp_path.glob("runs/*/result.json"))
    for file in files:
        file.unlink()
    carry_out(tmp_path, seeds=TWO_SEEDS)
    assert saved(tmp_path) == saved(whole)


def test_ctrl_c_tells_what_is_done(tmp_path, monkeypatch, capsys):
    sleep = time.sleep

    def interrupted(seconds):
        if list(tmp_path.glob("runs/*/result.json")):
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr("hybrid_jax.studies.running.runner.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, jobs=1)
    assert capsys.readouterr().err.endswith(
        "stopped: 1 of 6 runs are done; of 1 more, what was trained so far is saved. "
        "The same command goes on from here.\n"
    )
