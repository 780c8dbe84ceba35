"""Which device holds what: one mesh, one table of path rules.

"pjit-sharded" means `jax.jit` with `NamedSharding`; the compiler inserts the
collectives. Axis types are Auto by name: the default of `jax.make_mesh` is Explicit.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hybrid_jax.errors import UserError
from hybrid_jax.train.state import path_name

AXES = ("data", "fsdp", "tensor")

# First match wins; the entries stand for the last dimensions of the array. Optimizer
# moments end in their parameter's path, so the same rules place them.
TENSOR_RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"(qkv|query|key|value|fc1)/kernel$", (None, "tensor")),
    (r"(qkv|query|key|value|fc1)/bias$", ("tensor",)),
    (r"(attn/out|probe_pool/out|fc2)/kernel$", ("tensor", None)),
)

# Smaller arrays are cheaper to copy than to gather.
MIN_FSDP_ELEMENTS = 2**18


def make_mesh(axes: dict[str, int], *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Lays all devices out over the axes `data`, `fsdp`, `tensor`.

    Args:
        axes: devices along each axis; one may be -1 and takes what remains.
        devices: None takes all devices of the run. A program can be compiled for the
            devices of a topology that is not here (`jax.experimental.topologies`).

    Raises:
        UserError: the product does not fit the devices there are.
    """
    sizes = [int(axes[name]) for name in AXES]
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known > 0 and count % known == 0:
        sizes[sizes.index(-1)] = count // known
    if math.prod(sizes) != count or min(sizes) < 1:
        wanted = ", ".join(f"{name}={axes[name]}" for name in AXES)
        raise UserError(
            f"config.mesh: {wanted} does not cover the {count} devices of this run "
            f"exactly. Their product must be {count}; set one axis to -1 to let it take "
            f"the rest."
        )
    mesh = jax.make_mesh(
        tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices
    )
    for replicas in mesh.devices.reshape(-1, mesh.shape["tensor"]):
        if len({device.process_index for device in replicas}) > 1:
            raise UserError(
                f"config.mesh: tensor={mesh.shape['tensor']} spans several processes, each "
                f"of which reads rows of its own. It may be at most the devices of one "
                f"process, {jax.local_device_count()}."
            )
    return mesh


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch are spread over all data-parallel devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds a whole copy."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch_size(
    key: str, batch_size: int, mesh: Mesh, *, micro_batches: int = 1
) -> None:
    """Raises `UserError` unless rows divide evenly over the data-parallel devices.

    Args:
        key: config key of the batch size, for the message.
        micro_batches: parts the batch is cut into; each must divide evenly.
    """
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    unit = shards * micro_batches
    if batch_size % unit:
        lower = batch_size - batch_size % unit
        parts = f" in {micro_batches} micro-batches" if micro_batches > 1 else ""
        raise UserError(
            f"config.{key}: {batch_size} rows{parts} cannot be spread evenly over the "
            f"{shards} data-parallel devices (data x fsdp). "
            f"Use {f'{lower} or ' if lower else ''}{lower + unit}."
        )


def state_shardings(shapes: Any, mesh: Mesh) -> Any:
    """Returns the sharding of every leaf of a state, from its path and its shape."""

    def place(path, leaf):
        return NamedSharding(mesh, _spec(path_name(path), leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, shapes)


def _spec(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    spec: list[str | None] = [None] * len(shape)
    for pattern, axes in TENSOR_RULES:
        if re.search(pattern, path) and len(shape) >= len(axes):
            first = len(shape) - len(axes)
            for offset, axis in enumerate(axes):
                if axis and shape[first + offset] % mesh.shape[axis] == 0:
                    spec[first + offset] = axis
            break
    fsdp = mesh.shape["fsdp"]
    if fsdp > 1 and math.prod(shape) >= MIN_FSDP_ELEMENTS:
        for index in np.argsort(shape)[::-1]:
            if spec[index] is None and shape[index] % fsdp == 0:
                spec[index] = "fsdp"
                break
    return PartitionSpec(*spec)
