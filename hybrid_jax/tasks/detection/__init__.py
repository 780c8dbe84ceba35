"""Object detection: loss, scores and predictions."""

from hybrid_jax.tasks.detection import task

__all__ = ["task"]
