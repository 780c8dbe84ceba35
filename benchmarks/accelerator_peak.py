"""The arithmetic of a model, and the most that a device can do of it."""

import jax
import jax.numpy as jnp
from accelerator_timing import seconds_a_call

from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.ops.products import CONSTANT, follow
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.state import merge_model

# FLOP/s in bfloat16 without sparsity, from the makers' data sheets.
_PEAKS = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12, "TPU v5 lite": 197e12}
_PASSES = {"train": 3, "infer": 1}


def peak_flops(device_kind: str) -> float | None:
    """Returns the FLOP/s of one device at most, or None if it is not known."""
    return next((flops for name, flops in _PEAKS.items() if name in device_kind), None)


def flops_per_image(experiment: Experiment, *, kind: str) -> int:
    """Returns the FLOPs of the model on one image, two for each multiply-accumulate.

    Those of the plain form: what is padded for a kernel or computed again is not counted.

    Args:
        kind: "train" (forward, and twice as much backward) or "infer".
    """

    def forward(params, mutable, image):
        return merge_model(experiment.graph, params, mutable)(image).logits

    hw, shapes = experiment.config.data.image_size, experiment.shapes
    image = jax.ShapeDtypeStruct((1, *hw, 3), jnp.float32)
    with tracing_for("cpu"):
        traced = jax.make_jaxpr(forward)(shapes.params, shapes.mutable, image)
    macs = follow(traced, [CONSTANT] * len(traced.jaxpr.invars)).macs
    return 2 * macs * _PASSES[kind]


def product_flops(*, side: int) -> float:
    """Measures the FLOP/s of one product of two (side, side) matrices in bfloat16."""
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    dot = jax.jit(lambda a: a @ a)
    seconds, _ = seconds_a_call(lambda: dot(a), seconds=0.5)
    return 2 * side**3 / seconds
