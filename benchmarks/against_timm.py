"""Throughput of a hybrid beside timm's, on one machine, in one paired run.

    pip install -e '.[benchmark]'
    python benchmarks/against_timm.py --model r26_vit_s32

Three workers (ours, timm eager, timm with torch.compile) hold the same model and take
turns, a few steps each round, so that a machine whose speed drifts is the same machine
for all of them. Float32, SGD without momentum for training, batches already in memory.
Pages of memory are small for all: the host of a virtual machine takes large ones back
while others have their turn.
Prints median seconds a step, images/s, the ratio to the faster timm of each round, and
how long each took to start.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

TIMM_NAMES = {
    "r26_vit_s32": "vit_small_r26_s32_224",
    "r50_vit_b16": "vit_base_r50_s16_224",
    "r50_vit_l32": "vit_large_r50_s32_224",
    "r_vit_ti16": "vit_tiny_r_s16_p8_224",
}
LEARNING_RATE = 1e-3


def ours(model_name: str, batch: int, size: int):
    """Returns `(train(n), infer(n))`, each running n steps and waiting for the last."""
    import jax
    import jax.numpy as jnp
    import optax

    from hybrid_jax.models.hybrid import create_model
    from hybrid_jax.ops.compiler_options import compiler_options
    from hybrid_jax.train.state import merge_model, split_model

    box = []

    def init():
        graph, params, mutable = split_model(
            create_model(model_name, num_classes=1000, image_size=size)
        )
        box.append(graph)
        return params, mutable

    params, mutable = jax.jit(init)()
    graph = box[0]
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    labels = jnp.arange(batch) % 1000

    def loss(params, images, labels):
        logits = merge_model(graph, params, mutable)(images, train=True).logits
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean()

    def step(params, images, labels):
        value, grads = jax.value_and_grad(loss)(params, images, labels)
        return optax.tree.add_scale(params, -LEARNING_RATE, grads), value

    options = dict(compiler_options=compiler_options())
    train_step = jax.jit(step, donate_argnums=0, **options)
    infer_step = jax.jit(lambda p, x: merge_model(graph, p, mutable)(x).logits, **options)
    held = {"params": params}

    def train(count):
        for _ in range(count):
            held["params"], value = train_step(held["params"], images, labels)
        value.block_until_ready()

    def infer(count):
        for _ in range(count):
            logits = infer_step(held["params"], images)
        logits.block_until_ready()

    return train, infer


def timm(model_name: str, batch: int, size: int, *, compiled: bool):
    """Returns `(train(n), infer(n))` of timm's model of the same name."""
    import timm as timm_library
    import torch

    model = timm_library.create_model(TIMM_NAMES[model_name], img_size=size)
    train_model = torch.compile(model) if compiled else model
    images = torch.randn(batch, 3, size, size)
    labels = torch.arange(batch) % 1000
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

    def train(count):
        model.train()
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(train_model(images), labels)
            loss.backward()
            optimizer.step()

    def infer(count):
        model.eval()
        with torch.inference_mode():
            for _ in range(count):
                train_model(images)

    return train, infer


WORKERS = {
    "hybrid_jax": ours,
    "timm eager": lambda *a: timm(*a, compiled=False),
    "timm compiled": lambda *a: timm(*a, compiled=True),
}


def work(name: str, model_name: str, batch: int, size: int) -> None:
    """Answers each line `train N` or `infer N` on stdin with the seconds it took."""
    started = time.perf_counter()
    train, infer = WORKERS[name](model_name, batch, size)
    print(time.perf_counter() - started, flush=True)
    for line in sys.stdin:
        kind, count = line.split()
        started = time.perf_counter()
        {"train": train, "infer": infer}[kind](int(count))
        print(time.perf_counter() - started, flush=True)


class Worker:
    """One implementation in a process of its own."""

    def __init__(self, name: str, arguments: list[str]):
        self.name = name
        command = [sys.executable, __file__, "--worker", name, *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.start_seconds = float(self._process.stdout.readline())

    def seconds(self, kind: str, count: int) -> float:
        """Runs `count` steps and returns how long they took."""
        print(kind, count, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def measure(workers: list[Worker], kind: str, *, rounds: int, steps: int, batch: int):
    """Takes turns and returns one row of figures per implementation."""
    first = {worker.name: worker.seconds(kind, 1) for worker in workers}
    times = {worker.name: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            times[worker.name].append(worker.seconds(kind, steps) / steps)
    theirs = [
        min(pair) for pair in zip(times["timm eager"], times["timm compiled"], strict=True)
    ]
    rows = []
    for worker in workers:
        mine = times[worker.name]
        ratios = [t / m for t, m in zip(theirs, mine, strict=True)]
        rows.append(
            dict(
                implementation=worker.name,
                kind=kind,
                first_step_s=round(first[worker.name], 2),
                step_s=round(statistics.median(mine), 4),
                images_per_s=round(batch / statistics.median(mine), 2),
                ratio_to_faster_timm=round(statistics.median(ratios), 3),
                ratio_range=[round(min(ratios), 3), round(max(ratios), 3)],
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=TIMM_NAMES, default="r26_vit_s32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="steps a turn")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.model, options.batch, options.size)
        return
    arguments = [f"--model={options.model}", f"--batch={options.batch}"]
    arguments.append(f"--size={options.size}")
    workers = [Worker(name, arguments) for name in WORKERS]
    print(
        f"{options.model}, batch {options.batch}, {options.size} px, float32, "
        f"{platform.processor() or platform.machine()}"
    )
    for kind in ("infer", "train"):
        for row in measure(
            workers,
            kind,
            rounds=options.rounds,
            steps=options.steps,
            batch=options.batch,
        ):
            print(json.dumps(row), flush=True)
    for worker in workers:
        print(f"{worker.name}: ready after {worker.start_seconds:.1f} s")
        worker.close()


if __name__ == "__main__":
    main()
