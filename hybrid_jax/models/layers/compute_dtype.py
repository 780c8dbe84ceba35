"""Which arrays of a model are used in another dtype only."""

from typing import Any

from flax import nnx

from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.transformer import JointProjection

# Modules that cast kernel and bias to their dtype before anything else is done with them.
_CASTING = (nnx.Linear, Conv, JointProjection)


def cast_dtypes(model: nnx.Module) -> dict[str, Any]:
    """Returns the paths of arrays that are used in another dtype only, and that dtype."""
    return {
        "/".join(map(str, (*path, name))): module.dtype
        for path, module in nnx.iter_modules(model)
        if isinstance(module, _CASTING) and module.dtype is not None
        for name in ("kernel", "bias")
    }
