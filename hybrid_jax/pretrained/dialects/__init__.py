"""The dialect registry: every module in this folder is one layout of checkpoints."""

from hybrid_jax.registry import Registry

DIALECTS = Registry("dialect", package="hybrid_jax.pretrained.dialects")
