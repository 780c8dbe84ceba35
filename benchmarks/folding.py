"""Inference of a model as trained and folded, in turn in one process: ratios of medians.

    python benchmarks/folding.py --batch_size=8 --repeats=15

Prints a JSON object for each model: the medians of what trained over folded takes, by the
clock and in processor time, pair by pair. Above one, the folded model is faster. Only the
ratios are worth quoting from a machine that has other work.
"""

import json
import time

import jax
import numpy as np
from absl import app, flags
from flax import nnx

from hybrid_jax import create_model
from hybrid_jax.models.layers.folding import fold
from hybrid_jax.ops.compiler_options import compiler_options

_BATCH = flags.DEFINE_integer("batch_size", 8, "Images in a batch.")
_SIZE = flags.DEFINE_integer("image_size", 224, "Side of the images in px.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Timed pairs of batches for each model.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "Compute dtype.")

_MODELS = {
    "r26_vit_s32": ("r26_vit_s32", {}),
    "resnet50": ("resnet50", {}),
    "rtdetr_encoder": (
        "r26_vit_s32",
        dict(fusion="rtdetr_encoder", resnet="r50", resnet_options=dict(norm="batch")),
    ),
}


def _compiled(model, images):
    """Returns the compiled forward pass up to the head, its parameters bound."""
    graph, state = nnx.split(model.backbone)
    leaves, tree = jax.tree.flatten(state)
    forward = jax.jit(
        lambda leaves, x: nnx.merge(graph, jax.tree.unflatten(tree, leaves))(x).pooled,
        compiler_options=compiler_options(),
    )
    program = forward.lower(leaves, images).compile()
    return lambda: jax.block_until_ready(program(leaves, images))


def _seconds(call) -> np.ndarray:
    """Returns the time of one call by the clock and of all processors, in seconds."""
    started = time.perf_counter(), time.process_time()
    call()
    return np.subtract((time.perf_counter(), time.process_time()), started)


def main(argv: list[str]) -> None:
    del argv
    shape = (_BATCH.value, _SIZE.value, _SIZE.value, 3)
    images = jax.numpy.asarray(np.random.default_rng(0).uniform(-1, 1, shape), "float32")
    for name, (base, overrides) in _MODELS.items():
        model = create_model(
            base,
            num_classes=1000,
            image_size=_SIZE.value,
            dtype=_DTYPE.value,
            **overrides,
        )
        trained = _compiled(model, images)
        expected = trained()
        seconds = _seconds(lambda model=model: fold(model))
        folded = _compiled(model, images)
        apart = float(abs(folded() - expected).max() / abs(expected).max())
        pairs = [(_seconds(trained), _seconds(folded)) for _ in range(_REPEATS.value)]
        wall, processor = np.median([a / b for a, b in pairs], axis=0).tolist()
        row = dict(
            model=name,
            device=jax.devices()[0].device_kind,
            batch_size=_BATCH.value,
            dtype=_DTYPE.value,
            pairs=len(pairs),
            wall_ratio=round(wall, 3),
            processor_ratio=round(processor, 3),
            fold_processor_seconds=round(seconds[1], 2),
            largest_relative_difference=apart,
        )
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    app.run(main)
