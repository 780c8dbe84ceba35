"""Multi-scale deformable attention with its projections (Zhu et al., 2020)."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.models.layers.transformer import linear
from hybrid_jax.ops.attention.deformable import SAMPLINGS, deformable_attention
from hybrid_jax.specs import ViTSpec

_zeros = nnx.initializers.zeros_init()


class DeformableAttention(nnx.Module):
    """Deformable attention from queries to sampled points of several maps.

    Each query predicts, for every head and map, `num_points` offsets from its reference
    point, in cells of that map, and their attention weights. Initially the points of each
    head lie on a ray, at 1, 2, ... cells from the reference, and have equal weights.

    Args:
        spec: gives dtype and initialization.
        query_dim: width of the queries and of the output.
        value_dim: channels of the maps.
        dim: inner width, split over the heads.
        num_heads: attention heads; must divide `dim`.
        levels: number of maps.
        num_points: sampled points per query, head and map.
        sampling: "bilinear", or "discrete" (nearest cell), which gives no gradient to the
            offsets: for inference with weights trained with "bilinear".
    """

    def __init__(
        self,
        spec: ViTSpec,
        *,
        query_dim: int,
        value_dim: int,
        dim: int,
        num_heads: int,
        levels: int,
        num_points: int = 4,
        sampling: str = "bilinear",
        rngs: nnx.Rngs,
    ):
        if dim % num_heads:
            raise ValueError(
                f"DeformableAttention: {num_heads} heads do not divide dim {dim}."
            )
        if sampling not in SAMPLINGS:
            raise ValueError(
                f"DeformableAttention: sampling: expected one of {SAMPLINGS}, "
                f"got {sampling!r}."
            )
        self.shape = (num_heads, levels, num_points)
        self.sampling = sampling
        count = math.prod(self.shape)
        # float32: bfloat16 would round an offset of four cells to 1/64 of a cell.
        exact = dataclasses.replace(spec, dtype="float32")
        self.offsets = linear(
            exact,
            query_dim,
            2 * count,
            kernel_init=_zeros,
            bias_init=lambda *_: jnp.asarray(ring(*self.shape)).reshape(-1),
            rngs=rngs,
        )
        self.weights = linear(spec, query_dim, count, kernel_init=_zeros, rngs=rngs)
        self.value = linear(spec, value_dim, dim, rngs=rngs)
        self.out = linear(spec, dim, query_dim, rngs=rngs)

    def __call__(
        self,
        queries: jax.Array,
        references_px: jax.Array | np.ndarray,
        maps: Mapping[int, jax.Array],
        *,
        sizes_px: jax.Array | None = None,
        masks: Mapping[int, jax.Array] | None = None,
    ) -> jax.Array:
        """Maps queries (B, Q, query_dim) to (B, Q, query_dim).

        Args:
            references_px: (Q, 2) or (B, Q, 2) float32, (x, y) in pixels of the image.
            maps: stride -> (B, h, w, value_dim), as many as `levels`.
            sizes_px: (B, Q, 2), width and height of the reference boxes. Offsets are then
                in units of the half box over `num_points` instead of cells: an offset of
                `num_points` reaches the edge of the box (Zhu et al., 2020, with box
                refinement).
            masks: stride -> (B, h, w) bool; values are zero where it is False.
        """
        num_heads, levels, num_points = self.shape
        if len(maps) != levels:
            raise ValueError(
                f"DeformableAttention: maps: expected {levels}, got strides {sorted(maps)}."
            )
        B, Q, _ = queries.shape
        strides = sorted(maps)
        values = []
        for stride in strides:
            value = self.value(maps[stride])
            if masks is not None:
                value = jnp.where(masks[stride][..., None], value, 0.0)
            values.append(value.reshape(*value.shape[:3], num_heads, -1))
        offsets = self.offsets(queries).reshape(B, Q, num_heads, levels, num_points, 2)
        per_cell = jnp.asarray(strides, jnp.float32)[:, None]
        cells = jnp.asarray(references_px, jnp.float32)[..., None, :]
        cells = cells / per_cell  # (..., Q, levels, 2)
        if sizes_px is not None:
            edges = sizes_px.astype(jnp.float32)[..., None, :] / (
                2.0 * num_points * per_cell
            )
            offsets = offsets * edges[:, :, None, :, None, :]
        locations = cells[..., None, :, None, :] + offsets
        logits = self.weights(queries).astype(jnp.float32)
        weights = jax.nn.softmax(logits.reshape(B, Q, num_heads, levels * num_points))
        weights = weights.reshape(B, Q, num_heads, levels, num_points)
        out = deformable_attention(values, locations, weights, sampling=self.sampling)
        return self.out(out.reshape(B, Q, -1))


def ring(num_heads: int, levels: int, num_points: int) -> np.ndarray:
    """Returns the initial offsets (heads, levels, points, 2): a ray of (x, y) per head.

    The first points of all heads lie on a square around the reference, so that both axis
    and diagonal steps are whole cells.
    """
    angles = 2.0 * np.pi * np.arange(num_heads) / num_heads
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    rays = rays / np.abs(rays).max(-1, keepdims=True)
    steps = np.arange(1, num_points + 1)[:, None]
    offsets = rays[:, None, None, :] * steps  # (heads, 1, points, 2)
    return np.broadcast_to(offsets, (num_heads, levels, num_points, 2)).astype(np.float32)


def cell_centers_px(hw: tuple[int, int], stride: int) -> np.ndarray:
    """Returns (h * w, 2) float32: the center (x, y) in pixels of each cell, row by row."""
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    centers = np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5
    return (centers * stride).astype(np.float32)
