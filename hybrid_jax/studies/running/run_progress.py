"""What the runs of a study are doing, once a minute."""

import re
import time
from collections.abc import Callable, Sequence

from hybrid_jax.studies.running.job import Job

_SECONDS = 60.0
_TAIL_BYTES = 2000


class RunProgress:
    """Prints the last line that each run has written, so that a study is never silent.

    Args:
        clock: gives seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._said = clock()

    def tell(self, running: Sequence[Job], *, done: int, total: int) -> None:
        """Prints a line for each of the running jobs, if a minute has passed.

        Args:
            running: jobs whose processes have been started.
            done: number of jobs that have ended.
            total: number of jobs of this part of the study.
        """
        if self._clock() - self._said < _SECONDS:
            return
        self._said = self._clock()
        for job in running:
            line = _last_line(job) or "it has not said anything yet"
            print(f"{done} of {total} done; {job.run.name}: {line}", flush=True)


def _last_line(job: Job) -> str:
    try:
        with open(job.output_file, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:  # it is about to be written
        return ""
    # XLA frames its warnings of slow compilation by lines of stars.
    return next((line.strip() for line in reversed(lines) if re.search(r"\w", line)), "")
