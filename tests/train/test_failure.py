"""A process that fails, hangs or is killed takes the others of its run with it.

Every script below leaves one process where nothing but the death of the others can end it,
as a collective does on a device.
"""

import resource
import signal
import sys

import pytest
from several_processes import ended, start_several
from small_run import TIMEOUT, command, last_step, run_well, saved_steps, wait_until

# argv: what happens, and in which process.
SCRIPT = """
import os, signal, sys, time
import jax
from hybrid_jax.errors import UserError
from hybrid_jax.train.parallel.distributed import join
from hybrid_jax.train.failure import failing_together
join()
cause, victim = sys.argv[1], int(sys.argv[2])
with failing_together():
    jax.devices()  # they have met
    if jax.process_index() != victim:
        time.sleep(10_000)
    if cause == "mistake":
        raise UserError("the disk is full.")
    if cause == "defect":
        print(1 / 0)
    if cause == "ctrl_c":
        raise KeyboardInterrupt
    os.kill(os.getpid(), signal.Signals[cause])
    time.sleep(10_000)  # once it goes on
"""


def start_script(output, cause: str, victim: int, **variables):
    words = [sys.executable, "-c", SCRIPT, cause, str(victim)]
    return start_several(words, output, **variables)


@pytest.mark.parametrize(
    ("cause", "victim", "status", "text"),
    [
        ("mistake", 0, 1, "the disk is full."),
        ("defect", 1, 1, "ZeroDivisionError: division by zero"),
        ("ctrl_c", 1, 130, "KeyboardInterrupt"),
    ],
)
def test_exception_in_one_process_ends_both(tmp_path, cause, victim, status, text):
    processes = ended(start_script(tmp_path, cause, victim), tmp_path)
    failed, other = processes[victim], processes[1 - victim]
    assert failed.status == other.status == status, failed.printed + other.printed
    assert failed.printed.endswith(f"error: {text}\n")
    assert ("Traceback" in failed.printed) == (cause == "defect")
    assert other.printed == (
        f"error: process {victim} failed, so this one ends, too: {text}\n"
    )


@pytest.mark.parametrize(
    ("cause", "victim"),
    [
        ("SIGKILL", 0),
        ("SIGSTOP", 1),
        pytest.param("SIGKILL", 1, marks=pytest.mark.slow),
        pytest.param("SIGSTOP", 0, marks=pytest.mark.slow),
    ],
)
def test_process_without_heartbeat_ends_the_other(tmp_path, cause, victim):
    started = start_script(tmp_path, cause, victim, HJ_HEARTBEAT_TIMEOUT="2")
    started[1 - victim].wait(TIMEOUT)
    started[victim].send_signal(signal.SIGCONT)  # it finds itself alone
    for one in ended(started, tmp_path):
        assert one.status not in (0, 1), one.printed  # killed, or aborted by XLA
    other = (tmp_path / f"output{1 - victim}").read_text()
    assert "Terminating process because the JAX distributed service detected" in other


KEYS = {"train.steps": 100_000, "eval.every": 100_000, "checkpoint.every": 1}


@pytest.fixture
def training(tmp_path):
    """Four processes in the middle of a run that saves at every step."""
    workdir = tmp_path / "run"
    processes = start_several(command(workdir, KEYS), tmp_path, count=4)
    wait_until(
        lambda: last_step(workdir) >= 3,
        process=processes[0],
        output=tmp_path / "output0",
    )
    return processes, workdir


@pytest.mark.slow
def test_full_disk_of_the_main_process_ends_all(training, tmp_path):
    processes, workdir = training
    size = (workdir / "metrics.jsonl").stat().st_size
    # For files of the main process alone; what it prints is shorter than the metrics.
    resource.prlimit(processes[0].pid, resource.RLIMIT_FSIZE, (size, size))
    every = ended(processes, tmp_path)
    assert [one.status for one in every] == [1, 1, 1, 1], every
    for one in every[1:]:
        assert "error: process 0 failed, so this one ends, too: " in one.printed
        assert f"{workdir}/" in one.printed
        assert "Free some space or fix the disk" in one.printed


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["SIGINT", "SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("victim", [0, 3])
def test_lost_process_ends_all_and_the_run_goes_on(training, tmp_path, cause, victim):
    processes, workdir = training
    processes[victim].send_signal(signal.Signals[cause])
    for index, process in enumerate(processes):
        if index != victim:
            assert process.wait(TIMEOUT) != 0
    processes[victim].send_signal(signal.SIGCONT)
    assert all(one.status != 0 for one in ended(processes, tmp_path))
    step = saved_steps(workdir)[-1]
    done = run_well(command(workdir, KEYS | {"train.steps": step + 2}), devices=2)
    assert f"continued from step {step}" in done.stdout
