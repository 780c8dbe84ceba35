"""Measures how many images a second the input pipeline reads, crops and collates.

    python benchmarks/input_pipeline.py --images 512 --threads 1

The images are 500x400 JPEGs of random texture, about 50 KB each, in a temporary folder;
they are read once before anything is measured, so the disk plays no part.
"""

import argparse
import json
import os
import pathlib
import platform
import tempfile
import time

import grain
import numpy as np
import PIL
from ml_collections import ConfigDict
from PIL import Image

from hybrid_jax import config
from hybrid_jax.contracts import BatchStream, Source
from hybrid_jax.data import pipeline
from hybrid_jax.data.sources import open_source

_WIDTH_PX, _HEIGHT_PX = 500, 400


def main() -> None:
    """Prints a table, then the same as one line of JSON."""
    args = _parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mean_kb = _write_images(pathlib.Path(folder), count=args.images)
        source = open_source(f"folder:{folder}", split="train")
        for index in range(len(source)):
            source[index]
        results = _measure_all(source, args=args)
    report = {
        "images_per_second": results,
        "images": args.images,
        "mean_kb": round(mean_kb, 1),
        "threads": args.threads,
        "batch_size": args.batch_size,
        "cores": os.cpu_count(),
        "cpu": _cpu_name(),
        "python": platform.python_version(),
        "pillow": PIL.__version__,
        "numpy": np.__version__,
        "grain": getattr(grain, "__version__", "unknown"),
    }
    _print_table(report)
    print(json.dumps(report))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256, help="JPEGs to write")
    parser.add_argument("--threads", type=int, default=1, help="decoding threads")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")
    return parser.parse_args()


def _write_images(folder: pathlib.Path, *, count: int) -> float:
    """Writes `count` JPEGs of one class and returns their mean size in KB."""
    parent = folder / "train" / "texture"
    parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (_HEIGHT_PX // 10, _WIDTH_PX // 10, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((_WIDTH_PX, _HEIGHT_PX))
        noise = rng.normal(0, 7, (_HEIGHT_PX, _WIDTH_PX, 1))
        picture = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(parent / f"{number:05d}.jpg", quality=80)
    sizes = [path.stat().st_size for path in parent.iterdir()]
    return float(np.mean(sizes)) / 1000


def _measure_all(source: Source, *, args: argparse.Namespace) -> dict[str, float]:
    data = config.defaults().data
    data.image_size = (224, 224)
    data.threads = args.threads
    data.eval_crop = 0.875
    results = {}
    for interpolation in ("bicubic", "bilinear"):
        data.interpolation = interpolation
        data.crop = "random_resized"
        train = _train(source, data=data, batch_size=args.batch_size)
        results[f"train, {interpolation}"] = _rate(train, seconds=args.seconds)
        evaluation = pipeline.eval_batches(source, data=data, batch_size=args.batch_size)
        results[f"evaluation, {interpolation}"] = _rate(evaluation, seconds=args.seconds)
    data.interpolation = "bicubic"
    data.randaugment_layers = 2
    train = _train(source, data=data, batch_size=args.batch_size)
    results["train, bicubic, RandAugment 2"] = _rate(train, seconds=args.seconds)
    return results


def _train(source: Source, *, data: ConfigDict, batch_size: int) -> BatchStream:
    return pipeline.train_batches(
        source, data=data, batch_size=batch_size, seed=0, start_step=0
    )


def _rate(batches: BatchStream, *, seconds: float) -> float:
    """Returns images per second, after the first batch, until the end or `seconds`."""
    count, stream = 0, iter(batches)
    next(stream)
    start = time.perf_counter()
    for batch in stream:
        count += int(batch["mask"].sum())
        if time.perf_counter() - start > seconds:
            break
    elapsed = time.perf_counter() - start
    batches.close()
    return round(count / elapsed, 1)


def _cpu_name() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _print_table(report: dict) -> None:
    print(
        f"{report['cpu']}, {report['cores']} cores; Python {report['python']}, Pillow "
        f"{report['pillow']}, Grain {report['grain']}\n"
        f"{report['images']} JPEGs of {_WIDTH_PX}x{_HEIGHT_PX}, mean "
        f"{report['mean_kb']} KB; to 224 px; {report['threads']} thread(s)\n"
    )
    print(f"{'pipeline':32}{'images/s':>10}{'per thread':>12}")
    for name, rate in report["images_per_second"].items():
        print(f"{name:32}{rate:>10.0f}{rate / report['threads']:>12.0f}")


if __name__ == "__main__":
    main()
