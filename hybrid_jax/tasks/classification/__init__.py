"""Image classification: its loss, its scores and its predictions."""

from hybrid_jax.tasks.classification import task

__all__ = ["task"]
