"""Semantic segmentation: its loss, its scores and its predictions."""

from hybrid_jax.tasks.segmentation import task

__all__ = ["task"]
