"""Attention through the kernels of tokamax, an optional library.

On TPUs that is its form of Splash attention, on NVIDIA GPUs one in Mosaic (Hopper and
later) or in Triton. Their speed on an accelerator has not been measured here.
"""

import importlib
import types

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import Mesh, PartitionSpec

from hybrid_jax.array_types import AnyBias, AnyQueries, Keys, Queries
from hybrid_jax.errors import UserError
from hybrid_jax.ops.device_mesh import device_mesh
from hybrid_jax.ops.platform import platform

# Tokens in one block of the kernels (tokamax 0.0.12). Splash takes whole blocks only.
_BLOCKS = dict(gpu=64, tpu=128)
# Tried in this order; the library knows which of them a device has.
_KERNELS = dict(gpu=("mosaic", "triton"), tpu=("mosaic",))
_DTYPES = dict(gpu=(jnp.bfloat16, jnp.float16), tpu=(jnp.bfloat16, jnp.float32))
# Of the mesh in train/parallel/sharding.py: examples are split over the first two.
_EXAMPLES, _HEADS = ("data", "fsdp"), "tensor"


def import_tokamax() -> types.ModuleType:
    """Imports tokamax.

    Raises:
        UserError: it is not installed.
    """
    try:
        tokamax = importlib.import_module("tokamax")
    except ImportError as error:
        raise UserError(
            "config.model.attention: 'tokamax' is a library that cannot be imported here "
            f"({error}). Install it with: pip install -e '.[tokamax]', or choose 'auto'."
        ) from error
    # It reads absl flags of its own whenever a kernel is traced. A notebook or a test has
    # no `main` that parsed any.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return tokamax


def applies(query: AnyQueries, *, bias: AnyBias | None) -> bool:
    """Whether the kernels take this call on the devices that the program is traced for.

    Not on a CPU, nor lowered for an accelerator from another machine: the library asks the
    device. Not with a bias, of padding or of positions: Splash takes none, and the backward
    pass of the others writes the (N, M) tables that a fused kernel is to avoid. Under a
    mesh, its axes must divide examples and heads evenly.

    Args:
        query: (B, N, heads, d).
        bias: broadcastable to (B, heads, N, M).
    """
    name, mesh = platform(), device_mesh()
    if bias is not None or query.dtype not in _DTYPES.get(name, ()):
        return False
    return has_device(name) and (mesh is None or _divides(query, mesh))


def has_device(name: str) -> bool:
    """Whether the program's devices are of a kind, "gpu" or "tpu"."""
    mesh = device_mesh()
    device = jax.local_devices()[0] if mesh is None else mesh.devices.flat[0]
    return device.platform == name


def attention(query: Queries, key: Keys, value: Keys) -> Queries:
    """Attends from every query to every key; arguments as of `ops.attention.attention`.

    Each device of the mesh runs the kernel on its own examples and heads.

    Raises:
        UserError: tokamax is not installed.
    """
    mesh = device_mesh()
    if mesh is None or mesh.size == 1:
        return _on_one_device(query, key, value)
    own = PartitionSpec(_EXAMPLES, None, _HEADS)
    return jax.shard_map(
        _on_one_device,
        mesh=mesh,
        in_specs=(own, own, own),
        out_specs=own,
        check_vma=False,  # the kernels do not declare over which axes their results vary
    )(query, key, value)


def _divides(query: AnyQueries, mesh: Mesh) -> bool:
    B, _, heads, _ = query.shape
    parts = [mesh.shape[axis] for axis in _EXAMPLES]
    return B % (parts[0] * parts[1]) == 0 and heads % mesh.shape[_HEADS] == 0


def _on_one_device(query, key, value):
    name = platform()
    N, M = query.shape[1], key.shape[1]
    more_queries, more_keys = -N % _BLOCKS[name], -M % _BLOCKS[name]
    out = import_tokamax().dot_product_attention(
        _longer(query, more_queries),
        _longer(key, more_keys),
        _longer(value, more_keys),
        implementation=_KERNELS[name],
        **_hiding(more_queries + N, M, more_keys),
    )
    return out[:, :N]


def _hiding(N: int, M: int, more_keys: int) -> dict[str, jax.Array]:
    """Returns the arguments that hide the keys after the M-th."""
    if not more_keys:
        return {}
    if platform() == "gpu":
        return dict(key_value_seq_lengths=jnp.full(1, M, jnp.int32))
    # Splash takes no lengths, and a table only in full.
    real = jnp.arange(M + more_keys) < M
    return dict(mask=jnp.broadcast_to(real, (1, 1, N, M + more_keys)))


def _longer(x: jax.Array, tokens: int) -> jax.Array:
    """Appends tokens of zeros to (B, N, heads, d)."""
    return jnp.pad(x, ((0, 0), (0, tokens), (0, 0), (0, 0))) if tokens else x
