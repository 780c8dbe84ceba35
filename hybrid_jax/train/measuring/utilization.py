"""How much of the devices' arithmetic a run can use at best."""

from hybrid_jax.chips import peak_flops
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.measuring.forward_pass import trace_forward


def training_flops_per_image(macs: int) -> int:
    """Returns the operations that training on one image takes.

    Args:
        macs: multiply-accumulates of the forward pass.

    Two operations for each, and three passes: forward, the gradient of the activations,
    the gradient of the parameters. What is computed twice (remat) does not count twice,
    and nothing is deducted for frozen parameters.
    """
    return 2 * 3 * macs


def fastest_images_per_second(experiment: Experiment) -> float | None:
    """Returns the speed at which all devices would work at their peak in bfloat16.

    Images per second divided by it is the model FLOPs utilization (MFU). None on devices
    whose peak is not known, such as CPUs.
    """
    devices = experiment.mesh.devices
    peak = peak_flops(devices.flat[0].device_kind)
    if peak is None:
        return None
    _, flow = trace_forward(
        experiment.graph,
        experiment.shapes,
        image_size=tuple(experiment.config.data.image_size),
    )
    return devices.size * peak / training_flops_per_image(flow.macs)
