"""The arithmetic of a model, and how fast a device multiplies."""

import jax
import jax.numpy as jnp
from accelerator_timing import seconds_a_call

from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.measuring.forward_pass import trace_forward
from hybrid_jax.train.measuring.utilization import training_flops_per_image


def flops_per_image(experiment: Experiment, *, kind: str) -> int:
    """Returns the FLOPs of the model on one image, two for each multiply-accumulate.

    Those of the plain form: what is padded for a kernel or computed again is not counted.

    Args:
        kind: "train" (forward, and twice as much backward) or "infer".
    """
    image_size = tuple(experiment.config.data.image_size)
    _, flow = trace_forward(experiment.graph, experiment.shapes, image_size=image_size)
    if kind == "train":
        return training_flops_per_image(flow.macs)
    return 2 * flow.macs


def product_flops(*, side: int) -> float:
    """Measures the FLOP/s of one product of two (side, side) matrices in bfloat16."""
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    dot = jax.jit(lambda a: a @ a)
    seconds, _ = seconds_a_call(lambda: dot(a), seconds=0.5)
    return 2 * side**3 / seconds
