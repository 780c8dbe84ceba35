"""The task registry: every module here is loss and metrics of one kind of outputs."""

from hybrid_jax.registry import Registry

TASKS = Registry("task", package="hybrid_jax.tasks")
