"""Which device holds what: one mesh, one table of path rules.

"pjit-sharded" means `jax.jit` with `NamedSharding`; the compiler inserts the
collectives. Axis types are Auto by name: the default of `jax.make_mesh` is Explicit.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from hybrid_jax.errors import UserError
from hybrid_jax.train.state import path_name

AXES = ("data", "fsdp", "tensor")

# First match wins; the entries stand for the last dimensions of the array. Optimizer
# moments end in their parameter's path, so the same rules place them.
TENSOR_RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"attn/qkv/kernel$", (None, None, "tensor")),
    (r"attn/qkv/bias$", (None, "tensor")),
    (r"(query|key|value|fc1)/kernel$", (None, "tensor")),
    (r"(query|key|value|fc1)/bias$", ("tensor",)),
    (r"(attn/out|probe_pool/out|fc2)/kernel$", ("tensor", None)),
)


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
    key: str, batch_size: int, mesh: Mesh | AbstractMesh, *, micro_batches: int = 1
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


def even_batch_size(batch_size: int, mesh: Mesh) -> int:
    """Returns the next number of rows that the data-parallel devices can share evenly.

    For evaluation, which pads its last batch anyway and does not count padding.
    """
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    return -(-batch_size // shards) * shards


def state_shardings(shapes: Any, mesh: Mesh | AbstractMesh, *, min_elements: int) -> Any:
    """Returns the sharding of every leaf of a state, from its path and its shape.

    Args:
        min_elements: smaller arrays are whole on every device of the axis `fsdp`: they are
            cheaper to keep than to gather.
    """

    def place(path, leaf):
        spec = array_spec(path_name(path), leaf.shape, mesh, min_elements=min_elements)
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(place, shapes)


def array_spec(
    path: str, shape: tuple[int, ...], mesh: Mesh | AbstractMesh, *, min_elements: int
) -> PartitionSpec:
    """Returns how one array lies on the mesh, see `state_shardings`."""
    spec: list[str | None] = [None] * len(shape)
    for pattern, axes in TENSOR_RULES:
        if re.search(pattern, path) and len(shape) >= len(axes):
            first = len(shape) - len(axes)
            for offset, axis in enumerate(axes):
                if axis and shape[first + offset] % mesh.shape[axis] == 0:
                    spec[first + offset] = axis
            break
    fsdp = mesh.shape["fsdp"]
    if fsdp > 1 and math.prod(shape) >= min_elements:
        for index in _fsdp_order(path, shape):
            if spec[index] is None and shape[index] % fsdp == 0:
                spec[index] = "fsdp"
                break
    return PartitionSpec(*spec)


def _fsdp_order(path: str, shape: tuple[int, ...]) -> list[int]:
    """Returns the axes in the order in which they are tried: the longest first.

    Of a convolution (kh, kw, C_in, C_out) it is the last one: weights are standardized
    over all others, which then are whole on every device.
    """
    axes = sorted(range(len(shape)), key=lambda axis: -shape[axis])
    if len(shape) == 4 and path.endswith("kernel"):
        axes = sorted(range(len(shape)), reverse=True)
    return axes
