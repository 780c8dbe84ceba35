"""local.sh: one status, and no process left, whatever ends it."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import small_run
from stub_programs import LAUNCH, TIMEOUT, Stubs, wait_until

# Stands in for hybrid_jax.main: says who it is, starts a child, then does as its role says.
PROGRAM = """
import os, pathlib, signal, subprocess, sys, time
place, roles = pathlib.Path(sys.argv[1]), sys.argv[2].split(",")
index = os.environ["HJ_PROCESS_ID"]
role = roles[int(index)]
asked = []
if role != "default":
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
child = subprocess.Popen(["sleep", "600"])
(place / f"child{index}").write_text(str(child.pid))
(place / f"words{index}").write_text(repr(sys.argv[3:]))
temporary = place / f"temporary{index}"
temporary.write_text(str(os.getpid()))
temporary.rename(place / f"pid{index}")
if role.startswith("exit"):
    while len(list(place.glob("pid?"))) < len(roles):
        time.sleep(0.01)
    sys.exit(int(role.removeprefix("exit")))
while not (role == "saves" and asked):
    time.sleep(0.01)
print("saved", index, flush=True)
"""


class Rehearsal:
    """A call of local.sh whose processes have roles instead of a model."""

    def __init__(self, folder: pathlib.Path, roles: str, *words: str, grace: int = 1):
        self.folder, self.count = folder, len(roles.split(","))
        program = folder / "program.py"
        program.write_text(PROGRAM)
        stubs = Stubs(folder)
        python = stubs.add(
            "python",
            f"#!/bin/bash\nreal={sys.executable}\n"
            f'if [[ $1 == -m ]]; then exec $real {program} "${{@:3}}"; fi\n'
            'exec $real "$@"\n',
        )
        self.script = subprocess.Popen(
            [
                *("bash", LAUNCH / "local.sh", str(self.count), f"--grace={grace}"),
                *(str(folder), roles, *words),
            ],
            env=stubs.environment | {"HJ_PYTHON": str(python)},
            stdout=subprocess.PIPE,
            text=True,
            # A shell ignores Ctrl-C in what it starts in the background, and what ignores
            # it passes that on; this suite may have been started so.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait_until(lambda: len(list(folder.glob("pid?"))) == self.count)

    def processes(self) -> list[int]:
        """Ids of all processes of the run and of their children."""
        files = [*self.folder.glob("pid?"), *self.folder.glob("child?")]
        return [int(file.read_text()) for file in files]

    def end(self) -> int:
        """Waits for the script and returns its status, when nothing else is left."""
        status = self.script.wait(TIMEOUT)
        assert [one for one in self.processes() if alive(one)] == []
        return status


@pytest.fixture(autouse=True)
def _leave_nothing(tmp_path):
    """A test that fails has left processes, which must not trouble the next ones."""
    yield
    for file in [*tmp_path.glob("pid?"), *tmp_path.glob("child?")]:
        if alive(int(file.read_text())):
            os.kill(int(file.read_text()), signal.SIGKILL)


def alive(process: int) -> bool:
    """Whether a process runs; one that has only not been waited for does not."""
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("roles", ["exit0", "exit0,exit0,exit0"])
def test_success_of_all_is_success(tmp_path, roles):
    assert Rehearsal(tmp_path, roles).end() == 0


@pytest.mark.parametrize("other", ["default", "saves", "deaf"])
def test_one_failure_ends_the_others(tmp_path, other):
    assert Rehearsal(tmp_path, f"{other},exit7,{other}").end() == 7


def test_a_killed_process_ends_the_others(tmp_path):
    rehearsal = Rehearsal(tmp_path, "deaf,deaf")
    os.kill(int((tmp_path / "pid1").read_text()), signal.SIGKILL)
    assert rehearsal.end() == 128 + signal.SIGKILL


def test_a_stopped_process_cannot_keep_the_script(tmp_path):
    rehearsal = Rehearsal(tmp_path, "saves,default")
    os.kill(int((tmp_path / "pid0").read_text()), signal.SIGSTOP)
    os.kill(int((tmp_path / "pid1").read_text()), signal.SIGKILL)
    assert rehearsal.end() == 128 + signal.SIGKILL


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_are_passed_on_and_the_run_may_save(tmp_path, number, status):
    rehearsal = Rehearsal(tmp_path, "saves,saves")
    rehearsal.script.send_signal(number)
    assert rehearsal.end() == status
    assert sorted(rehearsal.script.stdout.read().split()) == ["0", "1", "saved", "saved"]


def test_a_second_signal_kills(tmp_path):
    rehearsal = Rehearsal(tmp_path, "deaf,deaf", grace=1000)
    while rehearsal.script.poll() is None:
        rehearsal.script.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert rehearsal.end() == 128 + signal.SIGKILL


def test_late_signal_does_not_hide_the_status():
    # Python has no handlers any more while it shuts down.
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1]); import guard\n"
        "command = ['bash', '-c', 'exit 7']\n"
        "status = guard.Guard(command, parent=os.getppid(), grace=1).wait()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(status)"
    )
    command = [sys.executable, "-c", program, str(LAUNCH)]
    assert subprocess.run(command).returncode == 7


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl of Linux")
@pytest.mark.parametrize("roles", ["saves,saves", "deaf,deaf", "default,default"])
def test_nothing_outlives_a_killed_script(tmp_path, roles):
    rehearsal = Rehearsal(tmp_path, roles)
    rehearsal.script.kill()
    wait_until(lambda: not any(map(alive, rehearsal.processes())))


def test_words_reach_the_program_unchanged(tmp_path):
    words = [
        "--config=configs/x.py:fusion.strides=(16,32)",
        "a 'b' \"c\" $HOME `d` \\ *",
        "",
    ]
    assert Rehearsal(tmp_path, "exit0,exit0", *words).end() == 0
    for index in range(2):
        assert (tmp_path / f"words{index}").read_text() == repr(words)


@pytest.mark.parametrize("count", ["0", "two", "-1", "1.5"])
def test_number_of_processes_is_checked(tmp_path, count):
    done = Stubs(tmp_path).run("local.sh", count, "--config=c")
    assert done.returncode == 2
    assert f"the number of processes: got '{count}', expected a whole number" in done.stderr


@pytest.mark.slow
def test_a_real_run_leaves_nothing_when_one_process_is_killed(tmp_path):
    workdir, output = tmp_path / "run", tmp_path / "output"
    flags = small_run.command(workdir, {"train.steps": 100_000})[3:]
    script = small_run.start(
        ["bash", str(LAUNCH / "local.sh"), "2", "--grace=2", *flags],
        output=output,
        HJ_PYTHON=sys.executable,
    )
    small_run.wait_until(
        lambda: small_run.last_step(workdir) >= 3, process=script, output=output
    )
    mine = subprocess.run(
        ["pgrep", "--full", str(workdir)], capture_output=True, text=True, check=True
    )
    ids = [int(word) for word in mine.stdout.split() if int(word) != script.pid]
    runs = [
        one
        for one in ids
        if "guard.py" not in pathlib.Path(f"/proc/{one}/cmdline").read_text()
    ]
    assert len(runs) == 2
    os.kill(runs[1], signal.SIGKILL)
    assert script.wait(TIMEOUT) == 128 + signal.SIGKILL
    assert [one for one in ids if alive(one)] == []
