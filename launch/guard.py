"""Runs one command of `local.sh` and sees to it that nothing of it is left.

    python guard.py PARENT GRACE COMMAND...

The command runs in a session of its own, out of reach of the terminal's Ctrl-C, which the
script passes on as SIGTERM. The first SIGTERM is passed on to the command; a second one
kills the command and its children. If the parent process dies, the kernel sends this
process a SIGTERM, and the command is killed GRACE seconds later. If this process dies, the
kernel kills the command, but not what the command had started. Both need Linux (`prctl`);
elsewhere a SIGKILL leaves processes behind.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def _signal_me_when_my_parent_dies(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _prepare_command() -> None:
    """Runs in the child, before it becomes the command."""
    _signal_me_when_my_parent_dies(signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


class Guard:
    """One command and the right to end it.

    Args:
        command: the program and its arguments.
        parent: process id of the script.
        grace: seconds between asking and killing once the script is dead.
    """

    def __init__(self, command: list[str], *, parent: int, grace: float):
        self.parent = parent
        self.grace = grace
        self.asked = False
        os.setsid()
        # Held back until there is a process to pass it to.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        _signal_me_when_my_parent_dies(signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)  # it died before the kernel was told to watch
        self.process = subprocess.Popen(
            command, start_new_session=True, preexec_fn=_prepare_command
        )
        signal.signal(signal.SIGTERM, lambda *_: self.ask())
        signal.signal(signal.SIGALRM, lambda *_: self.kill())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def ask(self) -> None:
        """Asks the command to end, or kills it if that was done before."""
        if self.asked:
            self.kill()
            return
        self.asked = True
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        if os.getppid() != self.parent:  # nobody is left to ask again
            signal.setitimer(signal.ITIMER_REAL, self.grace)

    def kill(self) -> None:
        """Kills the command and all it started that has not left its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Returns the exit status as a shell reports it, after killing what is left."""
        status = self.process.wait()
        # From here on a SIGTERM is held back: while Python shuts down it would have no
        # handler, and this process would die of it and hide the status of the command.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self.kill()
        return status if status >= 0 else 128 - status


if __name__ == "__main__":
    guard = Guard(sys.argv[3:], parent=int(sys.argv[1]), grace=float(sys.argv[2]))
    sys.exit(guard.wait())
