"""Every fusion at one budget, R26 + ViT-S/16 at 224 px: parameters, arithmetic, speed.

    python benchmarks/fusion_costs.py --write docs/benchmarks.md

Parameters, multiply-accumulates and strides come from `hybrid_jax.describe` with 1000
classes. Speed is that of a whole training step (SGD, float32) in memory. `sequential`
runs in a process of its own beside each fusion and they take turns, so that a machine
whose speed drifts is the same machine for both; the table gives the median ratio over the
rounds, and images/s from the median step, which only a quiet machine gives meaning to.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

from configs_path import load
from markdown_table import markdown, write_table

REFERENCE = "sequential"


def config_of(fusion: str, size: int):
    """Returns the experiment at this size."""
    config = load("r26_vit_s16").get_config(f"imagenet2012,fusion={fusion},size={size}")
    config.model.dtype = "float32"
    return config


def train_step(fusion: str, *, batch: int, size: int):
    """Returns a function that runs one training step and waits for it."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    from hybrid_jax.models.hybrid import build_model
    from hybrid_jax.ops.compiler_options import compiler_options
    from hybrid_jax.train.state import merge_model, split_model

    model = config_of(fusion, size).model
    box = []

    def init():
        rngs = nnx.Rngs(params=0)
        built = build_model(model, num_classes=1000, image_size=(size, size), rngs=rngs)
        graph, params, mutable = split_model(built)
        box.append(graph)
        return params, mutable

    params, mutable = jax.jit(init)()
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    labels = jnp.arange(batch) % 1000

    def step(params):
        def loss(params):
            logits = merge_model(box[0], params, mutable)(images, train=True).logits
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean()

        return optax.tree.add_scale(params, -1e-3, jax.grad(loss)(params))

    held = {"params": params}
    compiled = jax.jit(step, donate_argnums=0, compiler_options=compiler_options())

    def run():
        held["params"] = jax.block_until_ready(compiled(held["params"]))

    return run


def work(fusion: str, *, batch: int, size: int) -> None:
    """Answers each line on stdin with the seconds of one step."""
    run = train_step(fusion, batch=batch, size=size)
    for _ in sys.stdin:
        started = time.perf_counter()
        run()
        print(time.perf_counter() - started, flush=True)


class Worker:
    """One fusion in a process of its own; the first step has been taken."""

    def __init__(self, fusion: str, options):
        command = [sys.executable, __file__, "--worker", fusion]
        command += [f"--batch={options.batch}", f"--size={options.size}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.first_step_s = self.step()

    def step(self) -> float:
        """Returns the seconds of one more step."""
        print("step", file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def speed(fusion: str, reference: Worker, options) -> dict[str, float]:
    """Takes turns with the reference."""
    worker = Worker(fusion, options)
    mine, theirs = [], []
    for _ in range(options.rounds):
        theirs.append(reference.step())
        mine.append(worker.step())
    worker.close()
    ratios = [t / m for t, m in zip(theirs, mine, strict=True)]
    return dict(
        images_per_s=options.batch / statistics.median(mine),
        ratio=statistics.median(ratios),
        first_step_s=worker.first_step_s,
    )


def described(fusion: str, size: int) -> dict:
    """Returns what a fusion costs, before anything runs."""
    import hybrid_jax

    description = hybrid_jax.describe(config_of(fusion, size))
    return dict(
        parameters=description.total_params,
        macs=description.total_macs,
        strides=sorted(description.maps),
    )


def measured(fusion: str, reference: Worker, options) -> dict:
    """Describes and times one fusion, or reads what an earlier run kept."""
    kept = options.results / f"{fusion}.json"
    if not kept.exists():
        result = described(fusion, options.size) | speed(fusion, reference, options)
        kept.write_text(json.dumps(result) + "\n")
        print(json.dumps(dict(fusion=fusion) | result), flush=True)
    return json.loads(kept.read_text())


def rate(images_per_s: float) -> str:
    """Returns two digits that count: 0.24, 2.4, 24, 240."""
    return f"{images_per_s:.{2 if images_per_s < 1 else 1 if images_per_s < 10 else 0}f}"


def main() -> None:
    import hybrid_jax

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fusions", nargs="+", default=hybrid_jax.list_fusions())
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=pathlib.Path, default="runs/fusion_costs")
    parser.add_argument("--write", type=pathlib.Path, help="file with the table's marks")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, batch=options.batch, size=options.size)
        return
    options.results.mkdir(parents=True, exist_ok=True)
    reference = Worker(REFERENCE, options)
    rows = []
    for fusion in options.fusions:
        result = measured(fusion, reference, options)
        rows.append(
            [
                f"`{fusion}`",
                f"{result['parameters'] / 1e6:.1f}",
                f"{result['macs'] / 1e9:.2f}",
                rate(result["images_per_s"]),
                f"{result['ratio']:.2f}",
                ", ".join(map(str, result["strides"])),
            ]
        )
    reference.close()
    columns = ["fusion", "parameters (M)", "GMAC", "train images/s"]
    columns += [f"training speed, × `{REFERENCE}`", "maps at strides"]
    table = markdown(columns, rows)
    print(table)
    if options.write:
        write_table(options.write, "fusion costs", table)


if __name__ == "__main__":
    main()
