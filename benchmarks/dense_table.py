"""Detection and segmentation from scratch: hybrids beside a plain ResNet, in one table.

    python benchmarks/dense_table.py --bccd /data/BCCD \\
        --nuclei "(/data/nuclei/images,/data/nuclei/masks)" --write docs/benchmarks.md

Trains the small dense configs with each fusion, one run at a time, and scores the
held-out split once with the last checkpoint: nothing is chosen on it. Without a path,
a real data set is left out. Interrupted, it continues where it was; minutes are those of
the training command, start and evaluations included, over all its attempts. Prints a
Markdown table with the cost of each model beside its scores.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

from configs_path import load
from markdown_table import markdown, percent, write_table

# Config -> held-out split and what is told of it. The nuclei have no third split.
HELD_OUT = {
    "shapes_detection": ("test", ("AP", "AP50")),
    "shapes_segmentation": ("test", ("mIoU", "mAcc")),
    "bccd_fcos": ("test", ("AP", "AP50")),
    "nuclei_segmentation": ("validation", ("mIoU", "mAcc")),
}


def argument(config: str, fusion: str, seed: int, options: argparse.Namespace) -> str:
    """Returns what stands after the config's colon."""
    paths = {
        "bccd_fcos": f"voc={options.bccd}",
        "nuclei_segmentation": f"seg={options.nuclei}",
    }
    return f"{paths.get(config, 'shapes')},fusion={fusion},seed={seed}"


def train_and_score(config: str, fusion: str, seed: int, options) -> dict[str, float]:
    """Trains and scores one model; returns its scores and the minutes it trained."""
    here = options.workdir / f"{config}-{fusion}-{seed}"
    command = [
        sys.executable,
        "-m",
        "hybrid_jax.main",
        f"--config=configs/{config}.py:{argument(config, fusion, seed, options)}",
        f"--workdir={here}",
    ]
    timing = here / "minutes.json"
    if not (here / "report.json").exists():
        earlier = json.loads(timing.read_text()) if timing.exists() else 0.0
        started = time.perf_counter()
        try:
            subprocess.run(command, check=True)
        finally:
            here.mkdir(parents=True, exist_ok=True)
            timing.write_text(json.dumps(earlier + (time.perf_counter() - started) / 60))
    split = HELD_OUT[config][0]
    report = here / f"evaluation_{split}.json"
    if not report.exists():
        score = ["--mode=evaluate", "--config.eval.restore=last"]
        subprocess.run([*command, *score, f"--config.eval.split={split}"], check=True)
    scores = json.loads(report.read_text())
    return scores | dict(minutes=json.loads(timing.read_text()))


def row(config: str, fusion: str, options) -> list[str]:
    """Returns one line of the table."""
    import hybrid_jax

    experiment = load(config).get_config(argument(config, fusion, 0, options))
    cost = hybrid_jax.describe(experiment)
    runs = [train_and_score(config, fusion, seed, options) for seed in options.seeds]
    split, names = HELD_OUT[config]
    scores = ", ".join(f"{name} {percent([run[name] for run in runs])}" for name in names)
    return [
        f"`{config}`",
        f"`{fusion}`",
        f"{cost.total_params / 1e6:.2f}",
        f"{cost.total_macs / 1e9:.2f}",
        f"{split}: {scores}",
        f"{statistics.mean(run['minutes'] for run in runs):.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=list(HELD_OUT), choices=HELD_OUT)
    parser.add_argument("--fusions", nargs="+", default=["sequential", "resnet"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--bccd", help="folder of the VOC data set")
    parser.add_argument("--nuclei", help="(IMAGES,MASKS), as in a config's argument")
    parser.add_argument("--workdir", type=pathlib.Path, default="runs/dense_table")
    parser.add_argument("--write", type=pathlib.Path, help="file with the table's marks")
    options = parser.parse_args()
    absent = {"bccd_fcos": options.bccd, "nuclei_segmentation": options.nuclei}
    configs = [config for config in options.configs if absent.get(config, True)]
    rows = [
        row(config, fusion, options) for config in configs for fusion in options.fusions
    ]
    columns = ["config", "fusion", "parameters (M)", "GMAC", "held-out, %", "minutes"]
    table = markdown(columns, rows)
    print(table)
    if options.write:
        write_table(options.write, "dense scores", table)


if __name__ == "__main__":
    main()
