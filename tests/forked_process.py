"""A command of Python in a fork of `fork_server.py`, with the methods of a `Popen`."""

import array
import functools
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

_NUMBER = 8  # bytes


class ForkedProcess:
    """One command: `python -m MODULE ...` or `python -c CODE ...`.

    Attributes:
        pid: its process id.
        returncode: its exit status, or minus the number of the signal that ended it; None
            until `poll` or `wait` has seen its end.
    """

    def __init__(
        self,
        words: list[str],
        *,
        stdout: IO,
        stderr: IO,
        env: Mapping[str, str],
        cwd: pathlib.Path | None = None,
    ):
        place = str((cwd or pathlib.Path()).absolute())
        request = dict(
            words=[str(word) for word in words], environment=dict(env), cwd=place
        )
        self._told, told = os.pipe()
        files = [stdout.fileno(), stderr.fileno(), told]
        socket.send_fds(_server()[0], [json.dumps(request).encode()], files)
        os.close(told)
        self.returncode: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        """Returns the exit status if it has ended."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.returncode = self._number()
            os.close(self._told)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit status once it has ended.

        Raises:
            TimeoutExpired: it takes longer than `timeout` seconds.
        """
        if self.returncode is None and not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        told = os.read(self._told, _NUMBER)
        assert len(told) == _NUMBER, "the server of forks has ended"
        return array.array("q", told)[0]


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen]:
    """Starts the server of this process, and returns the way to it; it ends with that."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    script = pathlib.Path(__file__).with_name("fork_server.py")
    paths = (script.parents[1], script.with_name("quick_start"))
    process = subprocess.Popen(
        [sys.executable, script, str(there.fileno())],
        pass_fds=[there.fileno()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
    )
    there.close()
    return here, process
