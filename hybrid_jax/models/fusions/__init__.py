"""The fusion registry: every module in this folder is one fusion."""

from hybrid_jax.registry import Registry

FUSIONS = Registry("fusion", package="hybrid_jax.models.fusions")
