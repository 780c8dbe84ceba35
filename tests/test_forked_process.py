"""A fork is to a test what a process of its own would be."""

import signal
import sys

import pytest
from forked_process import ForkedProcess
from small_run import environment

SAYS = """
import os, pathlib, sys
import jax
print(jax.device_count(), os.environ["ODD"], os.getcwd(), sys.argv, __name__)
assert sys.orig_argv[0] == sys.executable and sys.orig_argv[1] == "-c"
assert "PATH" not in os.environ  # which the server has
print("quietly", file=sys.stderr)
sys.exit(7)
"""


def begin(code, place, *words, **more):
    with open(place / "output", "w") as output, open(place / "error", "w") as error:
        return ForkedProcess(
            [sys.executable, "-c", code, *words],
            stdout=output,
            stderr=error,
            env=more or environment(devices=3),
            cwd=place,
        )


def test_fork_has_the_flags_place_and_words_it_was_given(tmp_path):
    given = environment(devices=3, ODD="1")
    del given["PATH"]
    process = begin(SAYS, tmp_path, "a", "b c", **given)
    assert process.wait(60) == process.poll() == process.returncode == 7
    said = f"3 1 {tmp_path} ['-c', 'a', 'b c'] __main__\n"
    assert (tmp_path / "output").read_text() == said
    assert (tmp_path / "error").read_text() == "quietly\n"


@pytest.mark.parametrize("ends", ["SIGKILL", "SIGTERM"])
def test_fork_is_ended_by_signals(tmp_path, ends):
    process = begin("import time; time.sleep(600)", tmp_path)
    assert process.poll() is None
    process.send_signal(signal.Signals[ends])
    assert process.wait(60) == -signal.Signals[ends]
    process.kill()  # has ended: nobody is killed


def test_exception_ends_a_fork_as_it_ends_a_process(tmp_path):
    code = "import atexit; atexit.register(print, 'end'); 1 / 0"
    assert begin(code, tmp_path).wait(60) == 1
    assert (tmp_path / "output").read_text() == "end\n"
    last = (tmp_path / "error").read_text().splitlines()[-1]
    assert last == "ZeroDivisionError: division by zero"
