"""Every fusion of the same tiny parts, trained alike on `shapes`: what each one learns.

    python benchmarks/fusion_accuracy.py --seeds 0 1 2 --write docs/benchmarks.md

Trains `configs/tiny_fusions.py` with every registered fusion and seed, the same number of
steps and the same recipe, then scores the test split once with the last weights. Each
result is kept in the workdir, so that an interrupted table continues where it was. With
`--jobs 2`, two runs at a time have half of the cores each. Prints a Markdown table: mean
and standard deviation over the seeds of the 16 classes, and of texture (local) and layout
(global) alone; `--write` also puts it into a file, between its marks.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys

from markdown_table import markdown, percent, write_table

SCORES = ("top1", "top1_texture", "top1_layout")


def train(
    fusion: str, seed: int, *, workdir: pathlib.Path, extra: list[str], cores: set[int]
) -> dict[str, float]:
    """Trains one model on some of the cores and returns its test scores."""
    here = workdir / f"{fusion}-{seed}"
    report = here / "report.json"
    if not report.exists():
        command = [
            sys.executable,
            "-m",
            "hybrid_jax.main",
            f"--config=configs/tiny_fusions.py:shapes,fusion={fusion},seed={seed}",
            f"--workdir={here}",
            "--config.eval.split=test",
            # One evaluation, after the last step: nothing is chosen on the test split.
            "--config.eval.every=1000000",
            "--config.checkpoint.every=1000000",
            *extra,
        ]
        log = workdir / f"{fusion}-{seed}.log"
        with open(log, "w") as out:
            done = subprocess.run(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        if done.returncode:
            raise SystemExit(f"{fusion}, seed {seed} failed: see {log}")
        scores = json.loads(report.read_text())["scores"]
        print(f"{fusion} seed {seed}: test top-1 {scores['top1']:.3f}", flush=True)
    return json.loads(report.read_text())["scores"]


def train_all(fusions, seeds, *, jobs: int, **options) -> dict[tuple[str, int], dict]:
    """Trains everything, `jobs` runs at a time on cores of their own."""
    cores = sorted(os.sched_getaffinity(0))
    shares = queue.SimpleQueue()
    for job in range(jobs):
        shares.put(set(cores[job::jobs]))

    def one(fusion, seed):
        share = shares.get()
        try:
            return train(fusion, seed, cores=share, **options)
        finally:
            shares.put(share)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        # Seed by seed, so that an unfinished table has every fusion.
        futures = {
            (fusion, seed): pool.submit(one, fusion, seed)
            for seed in seeds
            for fusion in fusions
        }
        return {key: future.result() for key, future in futures.items()}


def cost(fusion: str) -> tuple[int, int]:
    """Returns parameters and multiply-accumulates of a tiny model."""
    from configs_path import load

    import hybrid_jax

    config = load("tiny_fusions").get_config(f"shapes,fusion={fusion}")
    description = hybrid_jax.describe(config)
    return description.total_params, description.total_macs


def main() -> None:
    import hybrid_jax

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fusions", nargs="+", default=hybrid_jax.list_fusions())
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--workdir", type=pathlib.Path, default="runs/fusion_accuracy")
    parser.add_argument("--write", type=pathlib.Path, help="file with the table's marks")
    options, extra = parser.parse_known_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    scores = train_all(
        options.fusions,
        options.seeds,
        jobs=options.jobs,
        workdir=options.workdir,
        extra=extra,
    )
    rows = []
    for fusion in options.fusions:
        runs = [scores[fusion, seed] for seed in options.seeds]
        params, macs = cost(fusion)
        accuracies = [percent([run[name] for run in runs]) for name in SCORES]
        best = statistics.mean(run["top1"] for run in runs)
        row = [f"`{fusion}`", f"{params / 1e6:.2f}", f"{macs / 1e6:.0f}", *accuracies]
        rows.append((best, row))
    rows = [row for _, row in sorted(rows, key=lambda pair: -pair[0])]
    columns = ["fusion", "parameters (M)", "MMAC", "test", "texture", "layout"]
    table = markdown(columns, rows)
    print(table)
    if options.write:
        write_table(options.write, "fusion accuracy", table)


if __name__ == "__main__":
    main()
