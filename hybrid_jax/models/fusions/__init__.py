"""The fusion registry: every module here is one wiring, found without being listed."""

from hybrid_jax.registry import Registry

FUSIONS = Registry("fusion", package="hybrid_jax.models.fusions")
