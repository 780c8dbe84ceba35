"""Runs a command and tells by the exit status whether the run is finished.

    python report_end.py [--log=FILE] COMMAND...

A run that was asked to stop by SIGTERM saves and exits with 0, as does a finished one.
Whoever has to decide about a restart cannot tell the two apart; this wrapper exits with 143
(as shells report SIGTERM) in the first case. SIGTERM and SIGINT are passed on. What the
command prints is printed, and kept in FILE.
"""

import signal
import subprocess
import sys

STOPPED = 128 + signal.SIGTERM
_MARK = b"stopped by SIG"  # what hybrid_jax/train/loop.py says when it has saved and leaves


def run(command: list[str], *, log: str) -> int:
    """Runs the command to its end; returns the exit status described above."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: process.send_signal(number))
    stopped = False
    with open(log, "wb") as file:
        for line in process.stdout:
            stopped |= _MARK in line
            for place in (sys.stdout.buffer, file):
                place.write(line)
                place.flush()
    status = process.wait()
    if status < 0:
        return 128 - status
    return STOPPED if stopped and status == 0 else status


if __name__ == "__main__":
    words, log = sys.argv[1:], "/dev/null"
    if words and words[0].startswith("--log="):
        log = words.pop(0).removeprefix("--log=")
    sys.exit(run(words, log=log))
