"""report_end.py: a run that was stopped is told from one that is finished."""

import pathlib
import signal
import subprocess
import sys

import pytest
from stub_programs import LAUNCH, TIMEOUT

from hybrid_jax.train import loop

PYTHON = [sys.executable, "-c"]


def report(*words, log=None) -> subprocess.CompletedProcess:
    flags = [f"--log={log}"] if log else []
    return subprocess.run(
        [sys.executable, LAUNCH / "report_end.py", *flags, *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("print('done: 8 steps')", 0),
        ("import sys; sys.exit(3)", 3),
        ("print('stopped by SIGTERM after step 5; saved')", 143),
        ("print('stopped by SIGTERM after step 5; saved'); raise SystemExit(2)", 2),
        ("import os; os.kill(os.getpid(), 9)", 137),
    ],
)
def test_status_tells_the_end(code, status):
    assert report(*PYTHON, code).returncode == status


def test_output_is_shown_and_kept(tmp_path):
    log = tmp_path / "log"
    log.write_text("stopped by SIGTERM, the run before\n")
    done = report(*PYTHON, "import sys; print(1, flush=True); sys.exit('two')", log=log)
    assert done.stdout == log.read_text() == "1\ntwo\n"


def test_sigterm_is_passed_on():
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(5))"
    code = f"{code}; print('up', flush=True)"
    process = subprocess.Popen(
        [sys.executable, LAUNCH / "report_end.py", *PYTHON, f"{code}; signal.pause()"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 5


def test_the_training_loop_says_the_words_that_are_looked_for():
    assert '"stopped by {self.stop.signal} after' in pathlib.Path(loop.__file__).read_text()
