"""The suites that a run is scored under; each file of this folder is one."""

from hybrid_jax.registry import Registry

SUITES = Registry("suite", package="hybrid_jax.robustness.suites")
