"""Speed of one config: start, compilation, training, inference, host overhead, data wait.

    python benchmarks/throughput.py --config=configs/r26_vit_b16.py
    python benchmarks/throughput.py --config=configs/tiny.py:shapes --steps=100

Prints one JSON object. FLOPs are XLA's own count of the compiled step.
"""

import json
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from hybrid_jax.data.pipeline import train_batches
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.parallel.sharding import replicated
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.state import merge_model

_CONFIG = config_flags.DEFINE_config_file("config", None, "As for hybrid_jax.main.")
_STEPS = flags.DEFINE_integer("steps", 20, "Timed steps of each kind.")


def _batches(experiment):
    config = experiment.config
    return DevicePrefetch(
        train_batches(
            experiment.source,
            data=config.data,
            batch_size=config.train.batch_size,
            seed=config.seed,
            start_step=0,
        ),
        sharding=experiment.batch_sharding,
        size=config.data.prefetch,
    )


def _flops(compiled) -> float:
    analysis = compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    return float((analysis or {}).get("flops", float("nan")))


def _timed(call, count: int) -> float:
    """Returns the median seconds of `count` calls, each waited for."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def host_overhead_ms(experiment, state, batch, *, count: int = 200) -> float:
    """Returns the median cost of passing state and batch through an empty compiled step.

    The step has the real one's arguments, shardings and donation but no arithmetic, so
    what remains is what Python and the runtime spend per step.
    """

    def empty(state, batch):
        return state.replace(step=state.step + 1), dict(loss=jnp.zeros(()))

    step = jax.jit(
        empty,
        donate_argnums=0,
        in_shardings=(experiment.shardings, experiment.batch_sharding),
        out_shardings=(experiment.shardings, replicated(experiment.mesh)),
    )
    held = [jax.tree.map(jnp.copy, state)]

    def call():
        held[0], scalars = step(held[0], batch)
        return scalars

    _timed(call, 5)
    return 1e3 * _timed(call, count)


def with_data(experiment, train_step, state, *, steps: int) -> tuple[float, float]:
    """Returns images/s and the share of time spent waiting, fed by the real pipeline."""
    batches = _batches(experiment)
    for _ in range(3):
        state, scalars = train_step(state, next(batches)[0])
    jax.block_until_ready(scalars)
    waited, started = batches.seconds_waited, time.perf_counter()
    for _ in range(steps):
        state, scalars = train_step(state, next(batches)[0])
        jax.block_until_ready(scalars)
    seconds = time.perf_counter() - started
    waited = batches.seconds_waited - waited
    batches.close()
    return steps * experiment.config.train.batch_size / seconds, waited / seconds


def main(argv: list[str]) -> None:
    del argv
    started = time.perf_counter()
    experiment = prepare(_CONFIG.value)
    prepared = time.perf_counter()
    state = jax.block_until_ready(experiment.new_state())
    initialized = time.perf_counter()
    batches = _batches(experiment)
    batch, _ = next(batches)
    batches.close()

    train_step = experiment.jitted_train_step()
    before = time.perf_counter()
    compiled = train_step.lower(state, batch).compile()
    compile_seconds = time.perf_counter() - before
    overhead = host_overhead_ms(experiment, state, batch)

    graph, policy = experiment.graph, experiment.config.model.normalization

    def infer(params, mutable, image):
        return merge_model(graph, params, mutable)(
            normalize_image(image, policy=policy)
        ).logits

    infer_step = jax.jit(infer, compiler_options=experiment.compiler_options)
    params = jax.tree.map(jnp.copy, state.params)
    mutable = jax.tree.map(jnp.copy, state.mutable)
    jax.block_until_ready(infer_step(params, mutable, batch["image"]))
    infer_seconds = _timed(
        lambda: infer_step(params, mutable, batch["image"]), _STEPS.value
    )

    held = [state]

    def train():
        held[0], scalars = train_step(held[0], batch)
        return scalars

    _timed(train, 2)
    train_seconds = _timed(train, _STEPS.value)
    fed, wait = with_data(experiment, train_step, held[0], steps=_STEPS.value)
    rows = experiment.config.train.batch_size
    flops = _flops(compiled)
    print(
        json.dumps(
            dict(
                model=experiment.config.model.fusion,
                parameters=sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params)),
                image_size=list(experiment.config.data.image_size),
                batch=rows,
                device=f"{jax.device_count()} x {jax.devices()[0].device_kind}",
                machine=platform.machine(),
                jax=jax.__version__,
                prepare_s=round(prepared - started, 2),
                initialize_s=round(initialized - prepared, 2),
                compile_s=round(compile_seconds, 2),
                train_images_per_s=round(rows / train_seconds, 2),
                infer_images_per_s=round(rows / infer_seconds, 2),
                train_gflops_per_step=round(flops / 1e9, 2),
                achieved_gflops_per_s=round(flops / train_seconds / 1e9, 1),
                fed_images_per_s=round(fed, 2),
                data_wait=round(wait, 4),
                host_overhead_ms=round(overhead, 3),
                arrays_in_state=len(jax.tree.leaves(held[0])),
            ),
            indent=2,
        )
    )


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
