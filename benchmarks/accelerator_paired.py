"""`accelerator.py paired`: the library and timm in turns, on a machine that may drift."""

import contextlib
import os
import pathlib
import statistics
import subprocess
import sys

from accelerator_cases import Case, chosen
from accelerator_rows import Rows, seconds_since_start
from accelerator_workers import WORKERS

COLUMNS = ("model", "px", "batch", "kind", "ours", "timm", "ratio_range", "ours_over_timm")
_CASES = [
    Case("r26_vit_s32", 224, 256, "both"),
    Case("r50_vit_b16", 224, 256, "both"),
    Case("r50_vit_l32", 384, 96, "both"),
    Case("vit_b16", 384, 96, "both"),
]
_TINY = [Case("tiny", 64, 8, "both")]
_ROUNDS = 5
_MOST_STEPS = 100  # in one turn
# Both processes hold a model at once; left alone, JAX takes three quarters of the memory.
_SHARE_OF_MEMORY = "0.45"


class Worker:
    """One implementation, in a process of its own."""

    def __init__(self, name: str, case: Case):
        self.name = name
        script = pathlib.Path(__file__).with_name("accelerator.py")
        words = [case.model, str(case.px), str(case.batch)]
        self._process = subprocess.Popen(
            [sys.executable, str(script), "work", name, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": _SHARE_OF_MEMORY},
        )

    def seconds(self, kind: str, count: int) -> float:
        """Runs `count` steps and returns how long they took together.

        Raises:
            RuntimeError: the process has ended.
        """
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says no more
            print(kind, count, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("took "):
                return float(line.split()[1])
        raise RuntimeError(f"{self.name} ended with status {self._process.wait()}")

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def paired(
    out: pathlib.Path,
    *,
    tiny: bool,
    words: list[str] | None,
    budget: float,
    seconds: float,
) -> None:
    """Measures every model beside timm's and prints a table.

    Args:
        out: folder for `paired.json`.
        tiny: one small model, on any machine.
        words: that the names of models hold, any of them; None for all.
        budget: seconds after which no model is begun.
        seconds: for the timing of each implementation, training and inference each.
    """
    rows = Rows(out / "paired.json")
    cases = chosen(_TINY if tiny else _CASES, words)
    for place, case in enumerate(cases):
        if seconds_since_start() > budget:
            rows.add(out_of_time=[str(case) for case in cases[place:]])
            break
        workers = [Worker(name, case) for name in WORKERS]
        try:
            for kind in ("train", "infer"):
                rows.add(**_compare(workers, case, kind, seconds=seconds))
        except RuntimeError as error:  # out of memory, say: the others go on
            rows.failed(case, error)
        finally:
            for worker in workers:
                worker.close()
    rows.print_table(*COLUMNS)


def _compare(workers: list[Worker], case: Case, kind: str, *, seconds: float) -> dict:
    first = {worker.name: round(worker.seconds(kind, 1), 1) for worker in workers}
    steps = {worker.name: _steps(worker, kind, seconds / _ROUNDS) for worker in workers}
    times: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for _ in range(_ROUNDS):
        for worker in workers:
            count = steps[worker.name]
            times[worker.name].append(worker.seconds(kind, count) / count)
    ratios = [t / o for o, t in zip(times["ours"], times["timm"], strict=True)]
    speeds = {
        name: round(case.batch / statistics.median(taken), 1)
        for name, taken in times.items()
    }
    return dict(
        model=case.model,
        px=case.px,
        batch=case.batch,
        kind=kind,
        **speeds,
        ours_over_timm=round(statistics.median(ratios), 3),
        ratio_range=[round(min(ratios), 3), round(max(ratios), 3)],
        first_step_s=first,
    )


def _steps(worker: Worker, kind: str, seconds: float) -> int:
    """Returns how many steps fill a turn of that many seconds."""
    worker.seconds(kind, 2)
    step = max(worker.seconds(kind, 2) / 2, 1e-4)
    return max(2, min(_MOST_STEPS, int(seconds / step)))
