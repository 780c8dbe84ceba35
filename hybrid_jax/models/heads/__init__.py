"""The head registry: every module here turns `Features` into one kind of outputs."""

from hybrid_jax.registry import Registry

HEADS = Registry("head", package="hybrid_jax.models.heads")
