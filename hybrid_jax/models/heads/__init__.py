"""The head registry: every module in this folder is one head."""

from hybrid_jax.registry import Registry

HEADS = Registry("head", package="hybrid_jax.models.heads")
