"""The form of the parameters that a step computes with.

Weights that are standardized are so once a step, not in each micro-batch or recomputation.
Arrays that lie in parts along the mesh axis `fsdp` are cast to the compute dtype and then
put together where they are used. Left to itself, the compiler also splits the activations
by the parts of the weights, and moves those between the devices.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from hybrid_jax.models.layers.convolution import Conv, standardize
from hybrid_jax.train.state import path_name


def standardized_kernels(model: nnx.Module) -> dict[str, str]:
    """Returns the paths of all kernels that are standardized, and by which numerics."""
    return {
        "/".join(map(str, (*path, "kernel"))): module.standardized
        for path, module in nnx.iter_modules(model)
        if isinstance(module, Conv) and module.standardized is not None
    }


def standardize_all(params: Mapping[str, Any], kernels: Mapping[str, str]) -> Any:
    """Standardizes the kernels of a nested dict, in float32.

    Args:
        kernels: from `standardized_kernels`; paths that `params` lacks do not count.
    """

    def prepared(path, leaf):
        numerics = kernels.get(path_name(path))
        return leaf if numerics is None else standardize(leaf, numerics=numerics)

    return jax.tree_util.tree_map_with_path(prepared, params)


def mark_standardized(model: nnx.Module) -> None:
    """Tells every convolution of a model that its kernel has been standardized."""
    for _, module in nnx.iter_modules(model):
        if isinstance(module, Conv):
            module.standardized = None


def put_together(
    params: Mapping[str, Any],
    shardings: Mapping[str, Any],
    dtypes: Mapping[str, Any],
) -> Any:
    """Brings arrays that are split along `fsdp` to every device of that axis.

    Their gradients are summed over the devices in the dtype they travel in, and every
    device keeps its own part.

    Args:
        params: nested dict of arrays.
        shardings: of the same structure.
        dtypes: from `models.layers.compute_dtype.cast_dtypes`; other arrays keep theirs.
    """

    def whole(path, leaf, sharding):
        if "fsdp" not in sharding.spec:
            return leaf
        return _gather(sharding)(leaf.astype(dtypes.get(path_name(path), leaf.dtype)))

    return jax.tree_util.tree_map_with_path(whole, params, shardings)


def _gather(split: NamedSharding) -> Callable[[jax.Array], jax.Array]:
    """Returns the identity that leads from parts to the whole, and back for gradients."""
    spec = (None if axis == "fsdp" else axis for axis in split.spec)
    whole = NamedSharding(split.mesh, PartitionSpec(*spec))

    @jax.custom_vjp
    def gather(x):
        return jax.lax.with_sharding_constraint(x, whole)

    def forward(x):
        return gather(x), None

    def backward(_, g):
        return (jax.lax.with_sharding_constraint(g, split),)

    gather.defvjp(forward, backward)
    return gather
