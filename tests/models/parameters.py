"""Random parameters for tests, by name and from shapes alone: no init is compiled."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def names_and_leaves(tree) -> dict[str, jax.Array]:
    """Returns 'vit.blocks.0.mlp.fc1.kernel' -> leaf."""
    pure = nnx.to_pure_dict(tree) if isinstance(tree, nnx.State) else tree
    leaves, _ = jax.tree_util.tree_flatten_with_path(pure)
    return {jax.tree_util.keystr(p, simple=True, separator="."): leaf for p, leaf in leaves}


def random_like(tree, *, seed=2):
    """Returns `tree` with every leaf random, so that none hides behind its zero init.

    Kernels have variance 1 / fan-in, scales and variances lie near one, all else is
    small: activations stay of order one through any depth.
    """
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        noise = rng.standard_normal(leaf.shape)
        name = jax.tree_util.keystr(path)
        if "kernel" in name:
            value = noise / math.sqrt(math.prod(leaf.shape[:-1]))
        elif "scale" in name or "gamma" in name:
            value = 1.0 + 0.2 * noise
        elif "var" in name:
            value = np.exp(0.3 * noise)
        else:
            value = 0.3 * noise
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, tree)


def as_float64(tree):
    """Returns the pure nested dict of a state in float64 numpy."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), nnx.to_pure_dict(tree))
