"""The task registry: every package in this folder is one task."""

from hybrid_jax.registry import Registry

TASKS = Registry("task", package="hybrid_jax.tasks")
