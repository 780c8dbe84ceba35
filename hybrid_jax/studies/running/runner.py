"""Runs the jobs of a study that have no result, each as a process, some at a time."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from hybrid_jax.errors import UserError
from hybrid_jax.studies.planning.machine_share import machine_shares
from hybrid_jax.studies.running.job import Job
from hybrid_jax.studies.running.run_lock import RunLock, holder
from hybrid_jax.studies.running.run_progress import RunProgress

_POLL_SECONDS = 0.1


@dataclasses.dataclass
class _Running:
    job: Job
    process: subprocess.Popen
    lock: RunLock
    slot: int
    started: float
    resumed: bool


class Runner:
    """Gives every job a result, or waits for the process that is about to.

    Args:
        program: the words in front of the flags.
        at_once: processes at a time; each has its share of the machine.
        retry_failed: whether failed jobs are run again, once.
        fault: why no job can be started, if none can.
    """

    def __init__(
        self, program: Sequence[str], *, at_once: int, retry_failed: bool, fault: str = ""
    ):
        self._program = program
        self._fault = fault
        self._shares = machine_shares(at_once)
        self._retry_failed = retry_failed
        self._retried: set[str] = set()

    def run(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """Returns the results, in the order of the jobs; equal jobs are run once.

        Raises:
            UserError: some were stopped by a signal, so that they can go on; or one has
                no result and none can be started.
            KeyboardInterrupt: Ctrl-C; the processes have been asked to stop, and have. A
                line says so, as it does before the exit of SIGTERM.
        """
        jobs_once = list({job.result_file: job for job in jobs}.values())
        running: list[_Running] = []
        try:
            with _stopping(running):
                stopped = self._run_all(jobs_once, running)
        except (KeyboardInterrupt, SystemExit):
            done = sum(map(self._has_result, jobs_once))
            _say_interrupted(running, jobs_once, done=done)
            raise
        if stopped:
            raise UserError(
                f"{len(stopped)} of {len(jobs_once)} runs were stopped before their end: "
                f"{', '.join(stopped)}. The same command goes on with them."
            )
        results = [job.result() for job in jobs]
        assert None not in results  # nothing waits and nothing was stopped
        return results  # pyright: ignore[reportReturnType]

    def _run_all(self, jobs: Sequence[Job], running: list[_Running]) -> list[str]:
        """Returns the names of those that were stopped, once none waits or runs.

        Args:
            jobs: all different.
            running: empty; holds at every moment the processes that have not been ended.
        """
        waiting, said = list(jobs), ""
        stopped: list[str] = []
        progress = RunProgress()
        while waiting or running:
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                if self._end(one) is None:
                    stopped.append(one.job.run.name)
            waiting = [job for job in waiting if not self._has_result(job)]
            self._start_some(waiting, running)
            if waiting and not running and waiting[0].run.name != said:
                said = waiting[0].run.name
                who = holder(waiting[0].folder)
                print(f"waiting for {said}, which {who} runs", flush=True)
            left = len(waiting) + len(running)
            done = len(jobs) - left
            progress.tell([r.job for r in running], done=done, total=len(jobs))
            if left:
                time.sleep(_POLL_SECONDS)
        return stopped

    def _has_result(self, job: Job) -> bool:
        result = job.result()
        if result is None:
            return False
        again = self._retry_failed and result["status"] == "failed"
        return not again or str(job.result_file) in self._retried

    def _start_some(self, waiting: list[Job], running: list[_Running]) -> None:
        """Starts waiting jobs that no other process runs, while there is a free slot."""
        if waiting and self._fault:
            raise UserError(self._fault)
        for job in list(waiting):
            free = set(range(len(self._shares))) - {one.slot for one in running}
            if not free:
                return
            lock = RunLock.take(job.folder)
            if lock is None:
                continue
            waiting.remove(job)
            if self._has_result(job):  # since the lock was asked for
                lock.close()
                continue
            self._retried.add(str(job.result_file))
            running.append(self._start(job, lock, slot=min(free)))

    def _start(self, job: Job, lock: RunLock, *, slot: int) -> _Running:
        resumed = job.begun()
        share = self._shares[slot]
        with open(job.output_file, "w") as output:
            process = subprocess.Popen(
                job.command(self._program),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.file],  # the run keeps the lock if the study is killed
                env={**os.environ, **share.variables},
            )
        if share.cores:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                # Its threads, which come later, inherit this.
                os.sched_setaffinity(process.pid, share.cores)
        return _Running(job, process, lock, slot, time.monotonic(), resumed)

    def _end(self, one: _Running) -> dict[str, Any] | None:
        result = one.job.finish(
            code=one.process.returncode,
            seconds=time.monotonic() - one.started,
            resumed=one.resumed,
        )
        one.lock.close()
        evaluation = one.job.evaluation
        what = "" if evaluation is None else f" on {evaluation}"
        if result is None:
            said = "stopped"
        elif result["status"] == "finished":
            said = f"{one.job.score} {result['score']:.4f}{what}"
        else:
            said = f"{result['status']}{what}: see {one.job.output_file}"
        print(f"{one.job.run.name}  seed {one.job.run.seed}  {said}", flush=True)
        return result


def _say_interrupted(
    running: Sequence[_Running], jobs: Sequence[Job], *, done: int
) -> None:
    """Says what a study that is asked to end leaves behind, in one line on stderr."""
    is_scoring = any(job.evaluation is not None for job in jobs)
    what = f"{done} of {len(jobs)} {'scorings' if is_scoring else 'runs'} are done"
    if running and not is_scoring:
        # A second signal does not wait for the first one's saving.
        ended = all(one.process.poll() is not None for one in running)
        is_saved = "is saved" if ended else "is being saved"
        what += f"; of {len(running)} more, what was trained so far {is_saved}"
    with contextlib.suppress(OSError):  # whoever read the output may have left
        text = f"stopped: {what}. The same command goes on from here."
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _stopping(running: list[_Running]) -> Iterator[None]:
    """Asks the processes to stop, and waits until they have saved, if this one must end."""

    def leave(number: int, frame: object) -> None:
        del frame
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()
        signal.signal(signal.SIGTERM, before)
