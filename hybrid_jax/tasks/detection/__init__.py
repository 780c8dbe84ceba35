"""Object detection: its loss, its scores and its predictions."""

from hybrid_jax.tasks.detection import task

__all__ = ["task"]
