"""Image classification: loss, scores and predictions."""

from hybrid_jax.tasks.classification import task

__all__ = ["task"]
