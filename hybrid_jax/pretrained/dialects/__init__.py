"""One file per layout that checkpoints are published in."""

from hybrid_jax.registry import Registry

DIALECTS = Registry("dialect", package="hybrid_jax.pretrained.dialects")
