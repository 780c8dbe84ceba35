"""Ahead-of-time compilation of the training step for accelerators of other machines.

The TPU compiler is a library (`libtpu`) that runs on any Linux machine. For a slice of any
size it gives the program that the slice would run, with its exact memory.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import cast

import jax
import numpy as np
from jax.experimental import topologies

from hybrid_jax.data.blank_batch import blank_batch
from hybrid_jax.errors import UserError
from hybrid_jax.train.experiment import Experiment

_EXAMPLES = "v5e:2x4, v5e:16x16, v6e:4x4, v5p:2x2x1 or tpu7x:2x2x1"

# Without TPUs, libtpu should neither query the metadata server of a cloud machine nor lock
# the library for other processes.
_WITHOUT_TPUS = dict(
    TPU_SKIP_MDS_QUERY="1",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_ACCELERATOR_TYPE="",
    ALLOW_MULTIPLE_LIBTPU_LOAD="true",
)

# Maximal number of chips of one host; smaller topologies are taken as one host.
_CHIPS_OF_ONE_HOST = 8


def tpu_devices(
    topology: str,
) -> Sequence[jax.Device]:  # pyright: ignore[reportInvalidTypeForm]
    """Returns the devices of a TPU slice, usable for compilation only.

    Args:
        topology: `CHIP:LAYOUT` with the layout in chips, such as "v5e:2x4".

    Raises:
        UserError: no TPU compiler on this machine, or it does not know the slice.
    """
    if jax.default_backend() != "tpu":
        for name, value in _WITHOUT_TPUS.items():
            os.environ.setdefault(name, value)
    sizes = [int(size) for size in topology.partition(":")[2].split("x") if size.isdigit()]
    bounds = {}
    if 1 <= len(sizes) <= 3 and math.prod(sizes) <= _CHIPS_OF_ONE_HOST:
        bounds["chips_per_host_bounds"] = (*sizes, *[1] * (3 - len(sizes)))
    try:
        return topologies.get_topology_desc(
            platform="tpu", topology_name=topology, **bounds
        ).devices
    except (jax.errors.JaxRuntimeError, RuntimeError, ValueError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "libtpu" in text or "TPU support" in text:
            raise UserError(
                f"--topology={topology}: the TPU compiler cannot be loaded ({text}). "
                f"Install it with: pip install -e '.[tpu]'"
            ) from error
        raise UserError(
            f"--topology={topology}: the TPU compiler does not know this slice ({text}). "
            f"Examples: {_EXAMPLES}."
        ) from error


class OutOfMemory(Exception):
    """The step does not fit into the memory of a device, as the compiler's message says."""


def compile_train_step(experiment: Experiment) -> jax.stages.Compiled:
    """Compiles the training step of an experiment for its devices (1 to 3 minutes).

    Raises:
        OutOfMemory: it does not fit into a device's memory.
    """
    lowered = lower_train_step(experiment)
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        found = re.search(r"Used [\d.]+\w* of [\d.]+\w*[^.]*", str(error))
        said = found[0].strip() if found else str(error).splitlines()[0]
        raise OutOfMemory(said) from error


def lower_train_step(experiment: Experiment) -> jax.stages.Lowered:
    """Lowers the training step of an experiment for its devices, without reading data."""
    config = experiment.config
    batch = blank_batch(
        config.data, targets=experiment.task.targets, batch_size=config.train.batch_size
    )
    arrays = cast(Mapping[str, np.ndarray], batch)
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in arrays.items()}
    asked = None
    if config.model.attention == "tokamax":  # it asks the default device what it can run
        asked = experiment.mesh.devices.flat[0]
    with jax.default_device(asked):
        return experiment.jitted_train_step().lower(experiment.shapes, shapes)
