"""The right to a run's folder, which one process at a time has."""

import fcntl
import os
import pathlib
import socket

from hybrid_jax.errors import UserError


class RunLock:
    """A lock on a folder; held until it is closed here and in all processes given it.

    The kernel holds it for an open file and not for a name, so a lock is never left behind:
    when the study is killed, it stays as long as the run that was given the file goes on,
    and no longer. The process and the host in the file are for people.

    Args:
        file: a descriptor of the locked file.
    """

    def __init__(self, file: int):
        self.file = file

    @classmethod
    def take(cls, folder: pathlib.Path) -> "RunLock | None":
        """Returns the lock of a folder, None if another process has it.

        Raises:
            UserError: the file system has no locks.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            os.close(file)
            raise UserError(
                f"{folder}: the file system has no locks ({error.strerror}), so that two "
                f"studies could run the same run. Put --workdir on another one."
            ) from error
        holder = f"process {os.getpid()} on {socket.gethostname()}\n"
        os.ftruncate(file, 0)
        os.pwrite(file, holder.encode(), 0)
        return cls(file)

    def close(self) -> None:
        """Lets go of it."""
        os.close(self.file)


def holder(folder: pathlib.Path) -> str:
    """Returns who has the lock, or had it last; "" for nobody."""
    path = folder / "lock"
    return path.read_text().strip() if path.exists() else ""
