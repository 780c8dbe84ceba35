"""Semantic segmentation: loss, scores and predictions."""

from hybrid_jax.tasks.segmentation import task

__all__ = ["task"]
