"""The hybrid and its plain halves on `shapes`: one recipe, equal parameters, one table.

    python benchmarks/shapes_table.py --seeds 0 --workdir runs/shapes_table

Trains `configs/tiny.py:shapes` as hybrid, `fusion=resnet` and `fusion=vit`, then scores
the test split and the four out-of-distribution splits with each run's last checkpoint.
Interrupted, it continues where it was. Prints a Markdown table: accuracy of the 16
classes, of texture and layout alone, and of the shifted splits; mean and deviation over
the seeds.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

from markdown_table import percent

FUSIONS = ("sequential", "resnet", "vit")
SHIFTED = ("test_noise", "test_bars", "test_small", "test_large")


def run(fusion: str, seed: int, workdir: pathlib.Path, extra: list[str]) -> dict:
    """Trains and scores one model; returns scores by split, parameters and minutes."""
    here = workdir / f"{fusion}-{seed}"
    command = [
        sys.executable,
        "-m",
        "hybrid_jax.main",
        f"--config=configs/tiny.py:shapes,fusion={fusion},seed={seed}",
        f"--workdir={here}",
        *extra,
    ]
    timing = here / "minutes.json"
    if not timing.exists():
        started = time.perf_counter()
        subprocess.run(command, check=True)
        timing.write_text(json.dumps((time.perf_counter() - started) / 60))
    splits = ",".join(("test", *SHIFTED))
    score = [
        "--mode=evaluate",
        f"--config.eval.split={splits}",
        "--config.eval.restore=last",
    ]
    subprocess.run([*command, *score], check=True, stdout=subprocess.DEVNULL)
    scores = {
        split: json.loads((here / f"evaluation_{split}.json").read_text())
        for split in ("test", *SHIFTED)
    }
    return scores | dict(minutes=json.loads(timing.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workdir", type=pathlib.Path, default="runs/shapes_table")
    options, extra = parser.parse_known_args()
    columns = ["test", "texture", "layout", *(name[5:] for name in SHIFTED), "minutes"]
    rows = [f"| model | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for fusion in FUSIONS:
        runs = [run(fusion, seed, options.workdir, extra) for seed in options.seeds]
        cells = [percent([r["test"]["top1"] for r in runs])]
        cells += [
            percent([r["test"][f"top1_{factor}"] for r in runs])
            for factor in ("texture", "layout")
        ]
        cells += [percent([r[split]["top1"] for r in runs]) for split in SHIFTED]
        cells.append(f"{statistics.mean(r['minutes'] for r in runs):.1f}")
        rows.append(f"| {fusion} | {' | '.join(cells)} |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
