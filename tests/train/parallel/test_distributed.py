"""Two processes train and score like one, and one goes on from where two stopped."""

import re
import shutil
import signal
import sys

import pytest
from several_processes import ended_well, start_several
from small_run import (
    RANDOM,
    command,
    last_step,
    rows,
    run_well,
    saved_steps,
    wait_until,
)

from hybrid_jax.errors import UserError
from hybrid_jax.train.parallel.distributed import _slurm_tasks, join

# A constant rate, so that a run's length does not change its steps.
KEYS = RANDOM | {
    "optimizer.schedule": "constant",
    "optimizer.warmup_fraction": 0.0,
    "eval.every": 4,
    "checkpoint.every": 4,
}
ADDRESS = {
    "HJ_COORDINATOR": "host:1234",
    "HJ_NUM_PROCESSES": "2",
    "HJ_PROCESS_ID": "1",
}
SAME = 1e-6  # relative: float32 sums, gathered in another order


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A run by two processes, one of which is told to stop: how it ended.

    Returns the workdir, the last step, and what each process printed.
    """
    workdir = tmp_path_factory.mktemp("together")
    output = tmp_path_factory.mktemp("output")
    processes = start_several(command(workdir, KEYS | {"train.steps": 100_000}), output)
    wait_until(
        lambda: last_step(workdir) >= 5, process=processes[0], output=output / "output0"
    )
    processes[1].send_signal(signal.SIGTERM)
    printed = ended_well(processes, output)
    return workdir, last_step(workdir), printed


@pytest.fixture(scope="module")
def alone(together, tmp_path_factory):
    """A run of one process with two devices, four steps longer."""
    workdir = tmp_path_factory.mktemp("alone")
    run_well(command(workdir, KEYS | {"train.steps": together[1] + 4}), devices=2)
    return workdir


def assert_same_numbers(actual: list[dict], expected: list[dict]):
    assert [row["step"] for row in actual] == [row["step"] for row in expected]
    for one, other in zip(actual, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=SAME)


def test_two_processes_are_as_one_and_one_goes_on_from_them(alone, together, tmp_path):
    """One test, since several would begin the runs anew in several workers of pytest."""
    workdir, stopped, (first, second) = together
    assert_same_numbers(rows(workdir), rows(alone)[:stopped])
    check_scores(workdir, alone)
    assert f"stopped by SIGTERM after step {stopped}; saved" in first
    assert saved_steps(workdir)[-1] == stopped
    check_only_the_first_speaks(first, second, stopped)
    check_one_goes_on(shutil.copytree(workdir, tmp_path / "run"), alone, stopped)


def check_scores(workdir, alone):
    scores, expected = (rows(path, "validation")[:1] for path in (workdir, alone))
    assert scores[0]["step"] == 4
    assert scores[0]["count"] == 177  # not a multiple of the batch
    for name in ("top1", "top5"):
        assert scores[0][name] == expected[0][name]
    assert_same_numbers(scores, expected)


def check_only_the_first_speaks(first, second, stopped):
    assert "step 1/100000" in first
    assert "on 2 x cpu" in first
    assert "step 1/100000" not in second
    assert f"after step {stopped}" not in second


def check_one_goes_on(workdir, alone, stopped):
    done = run_well(command(workdir, KEYS | {"train.steps": stopped + 4}))
    assert f"continued from step {stopped}" in done.stdout
    assert_same_numbers(rows(workdir), rows(alone))
    assert_same_numbers(rows(workdir, "validation"), rows(alone, "validation"))


# What the main process makes and only it: a score of every kind that JSON must carry.
TOLD = """
import jax
from hybrid_jax.train.parallel.distributed import from_main_process, join
join()
def make():
    assert jax.process_index() == 0, "only the main process has the numbers"
    return {"AP": 0.1 + 0.2, "AP/caf\u00e9": 1e-300, "count": 2**53, "none": float("nan")}
for _ in range(2):
    print("told:", jax.process_index(), ascii(sorted(from_main_process(make).items())))
print("told:", jax.process_index(), from_main_process(lambda: {}))
"""


def test_main_process_tells_the_others_what_it_made(tmp_path):
    processes = start_several([sys.executable, "-c", TOLD], tmp_path)
    printed = ended_well(processes, tmp_path)
    told = [re.findall(r"^told: (\d) (.*)$", text, re.MULTILINE) for text in printed]
    scores = "[('AP', 0.30000000000000004), ('AP/caf\\xe9', 1e-300), "
    scores += "('count', 9007199254740992), ('none', nan)]"
    for index in range(2):
        assert told[index] == [(str(index), text) for text in (scores, scores, "{}")]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HJ_NUM_PROCESSES": "2"},
        {"HJ_NUM_PROCESSES": "two", "HJ_PROCESS_ID": "0"},
        {"HJ_NUM_PROCESSES": "2", "HJ_PROCESS_ID": ""},
    ],
)
def test_incomplete_environment_is_refused(monkeypatch, variables):
    for name, value in {"HJ_COORDINATOR": "localhost:1", **variables}.items():
        monkeypatch.setenv(name, value)
    expected = (
        "HJ_COORDINATOR is set, so HJ_NUM_PROCESSES and HJ_PROCESS_ID must be whole "
        "numbers; got "
    )
    with pytest.raises(UserError, match=expected):
        join()


@pytest.mark.parametrize("expected", ["2", "several"])
def test_a_host_that_did_not_join_is_missed(monkeypatch, expected):
    monkeypatch.setenv("HJ_EXPECTED_PROCESSES", expected)
    with pytest.raises(UserError, match=rf"got 1 process\(es\).*expected {expected}\."):
        join()


@pytest.mark.parametrize("expected", ["1", ""])
def test_the_expected_processes_may_go_on(monkeypatch, expected):
    monkeypatch.setenv("HJ_EXPECTED_PROCESSES", expected)
    join()


@pytest.mark.parametrize(
    ("variables", "seconds"), [({}, 20), ({"HJ_HEARTBEAT_TIMEOUT": "600"}, 600)]
)
@pytest.mark.parametrize("known", [{"HJ_DISTRIBUTED": "1"}, ADDRESS])
def test_silence_is_borne_for_20_seconds_or_as_asked(
    monkeypatch, known, variables, seconds
):
    asked = []
    monkeypatch.setattr(
        "jax.distributed.initialize",
        lambda *_, heartbeat_timeout_seconds: asked.append(heartbeat_timeout_seconds),
    )
    for name, value in (known | variables).items():
        monkeypatch.setenv(name, value)
    join()
    assert asked == [seconds]


@pytest.mark.parametrize("value", ["", "1", "-5", "2.5", "long"])
def test_silence_that_is_no_number_of_seconds_is_refused(monkeypatch, value):
    monkeypatch.setenv("HJ_DISTRIBUTED", "1")
    monkeypatch.setenv("HJ_HEARTBEAT_TIMEOUT", value)
    expected = f"HJ_HEARTBEAT_TIMEOUT: a whole number of seconds .*, got '{value}'"
    with pytest.raises(UserError, match=expected):
        join()


def test_several_slurm_tasks_are_needed_to_join():
    assert _slurm_tasks({}) == 1
    assert _slurm_tasks({"SLURM_NTASKS": "4"}) == 1  # an allocation, not a step
    assert _slurm_tasks({"SLURM_STEP_NODELIST": "n1", "SLURM_NTASKS": "4"}) == 4
    assert _slurm_tasks({"SLURM_STEP_NODELIST": "n1"}) == 1
