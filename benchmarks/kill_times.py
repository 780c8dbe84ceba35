"""How long the other processes of a run outlive one that dies, stops or fails.

    python benchmarks/kill_times.py --processes 2 4 --runs 3
    python benchmarks/kill_times.py --causes SIGKILL --victims other --heartbeat 100

Starts a run of several processes on this machine, a CPU device each, and after ten steps
does something to one of them. SIGKILL and SIGSTOP are a machine that is lost or hangs;
SIGINT raises an exception in one process alone; `full_disk` makes the files that the main
process writes as long as they may be. The victim is the main process, which is the
coordinator, too, or the last of the others. Prints a Markdown table: the seconds until the
last of the others had ended ("inf" beyond --limit), their exit statuses, and the line in
which one says why.
"""

import argparse
import json
import os
import pathlib
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from markdown_table import markdown

ROOT = pathlib.Path(__file__).parents[1]
CAUSES = ("SIGKILL", "SIGSTOP", "SIGINT", "full_disk")
KEYS = {
    "train.steps": 1_000_000,
    "train.batch_size": 16,
    "optimizer.schedule": "constant",
    "optimizer.warmup_fraction": 0.0,
    "checkpoint.every": 4,
    "eval.every": 1000,
}
# What of an output says why a process ended: this library's line, or XLA's.
REASONS = ("error: ", "Terminating process because")


class Process:
    """One process of a run, and what it has printed."""

    def __init__(self, words: list[str], *, environment: dict[str, str]):
        self.process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self) -> None:
        """Kills it, if it has not ended, and reads what it has printed."""
        self.process.kill()
        self.process.wait()
        self._reader.join(5)

    def reason(self) -> str:
        """Returns the first line that says why it ended, or an empty string."""
        for line in self.lines:
            for mark in REASONS:
                if mark in line:
                    return line[line.index(mark) :].strip()
        return ""

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)


def start(count: int, workdir: pathlib.Path, options) -> list[Process]:
    """Starts a run of so many processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    words = [
        *(sys.executable, "-m", "hybrid_jax.main"),
        "--config=tests/small_experiment.py",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in KEYS.items()),
    ]
    environment = dict(
        PYTHONPATH=str(ROOT),
        JAX_PLATFORMS="cpu",
        XLA_FLAGS="--xla_force_host_platform_device_count=1",
        HJ_COORDINATOR=address,
        HJ_NUM_PROCESSES=str(count),
    )
    if options.heartbeat:
        environment["HJ_HEARTBEAT_TIMEOUT"] = str(options.heartbeat)
    return [
        Process(words, environment=environment | dict(HJ_PROCESS_ID=str(index)))
        for index in range(count)
    ]


def wait_for_step(step: int, workdir: pathlib.Path, processes: list[Process]) -> None:
    """Returns when `metrics.jsonl` has the row of a step.

    Raises:
        SystemExit: a process has ended before.
    """
    rows = workdir / "metrics.jsonl"
    while True:
        lines = rows.read_text().splitlines(keepends=True) if rows.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if whole and json.loads(whole[-1])["step"] >= step:
            return
        for process in processes:
            if process.process.poll() is not None:
                raise SystemExit("".join(process.lines))
        time.sleep(0.02)


def strike(cause: str, process: subprocess.Popen, workdir: pathlib.Path) -> None:
    """Does to a process what the cause says."""
    if cause == "full_disk":
        size = (workdir / "metrics.jsonl").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
    else:
        process.send_signal(signal.Signals[cause])


def measure(count: int, cause: str, victim: int, options) -> tuple[float, list[int], str]:
    """Returns seconds, exit statuses of the others, and a line of why one ended."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"
        processes = start(count, workdir, options)
        try:
            wait_for_step(10, workdir, processes)
            struck = time.perf_counter()
            strike(cause, processes[victim].process, workdir)
            others = [p for index, p in enumerate(processes) if index != victim]
            for process in others:
                left = options.limit - (time.perf_counter() - struck)
                process.process.wait(max(left, 0.0))
            seconds = time.perf_counter() - struck
        except subprocess.TimeoutExpired:
            seconds = float("inf")
        finally:
            statuses = [process.process.poll() for process in processes]
            for process in processes:
                process.end()
        del statuses[victim]
        reasons = [p.reason() for index, p in enumerate(processes) if index != victim]
        return seconds, statuses, max(reasons, key=len)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[2])
    parser.add_argument("--causes", nargs="+", choices=CAUSES, default=CAUSES)
    parser.add_argument(
        "--victims", nargs="+", choices=("main", "other"), default=("main", "other")
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--heartbeat", type=int, help="HJ_HEARTBEAT_TIMEOUT")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds to wait")
    options = parser.parse_args()
    # Ignored behind a shell's "&", it would be in the processes, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = []
    for count in options.processes:
        for cause in options.causes:
            for victim in options.victims:
                if cause == "full_disk" and victim == "other":
                    continue  # which writes no metrics
                index = 0 if victim == "main" else count - 1
                runs = [measure(count, cause, index, options) for _ in range(options.runs)]
                seconds = [run[0] for run in runs]
                statuses = sorted({str(status) for run in runs for status in run[1]})
                spread = (min(seconds), statistics.median(seconds), max(seconds))
                row = [str(count), cause, victim, " / ".join(f"{s:.1f}" for s in spread)]
                rows.append([*row, ", ".join(statuses), runs[-1][2][:120]])
                print(" | ".join(rows[-1]), flush=True)
    columns = ["processes", "cause", "victim", "seconds (min / median / max)"]
    print(markdown([*columns, "statuses", "reason"], rows))


if __name__ == "__main__":
    main()
