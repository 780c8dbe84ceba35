"""Deformable attention as a module: queries look at a few points of maps of any stride."""

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
    """Multi-scale deformable attention (Zhu et al., 2020) with its four projections.

    Each query states, for every head and map, `points` offsets from its reference in
    cells of that map, and a softmax over all of them. At first the points of a head lie
    on a ray of their own, 1, 2, ... cells away, and weigh the same.

    Args:
        spec: gives the dtype and the initialization.
        query_dim: width of the queries and of the result.
        value_dim: channels of the maps.
        dim: width inside, split over the heads.
        heads: must divide `dim`.
        levels: number of maps.
        points: sampled per query, head and map.
        sampling: "bilinear", or "discrete" (nearest cell) for weights trained bilinearly:
            the offsets are then fixed functions of the query, without gradient.
    """

    def __init__(
        self,
        spec: ViTSpec,
        *,
        query_dim: int,
        value_dim: int,
        dim: int,
        heads: int,
        levels: int,
        points: int = 4,
        sampling: str = "bilinear",
        rngs: nnx.Rngs,
    ):
        if dim % heads:
            raise ValueError(f"DeformableAttention: {heads} heads do not divide dim {dim}.")
        if sampling not in SAMPLINGS:
            raise ValueError(
                f"DeformableAttention: sampling: expected one of {SAMPLINGS}, "
                f"got {sampling!r}."
            )
        self.shape = (heads, levels, points)
        self.sampling = sampling
        count = math.prod(self.shape)
        # Sixteen bits would round an offset of four cells to a sixty-fourth of a cell.
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
            maps: stride -> (B, h, w, value_dim), `levels` of them; finest first inside.
            sizes_px: (B, Q, 2), width and height of the box around each reference: an
                offset of `points`, which the outermost points have at first, then reaches
                its edge, instead of that many cells (Zhu et al., 2020, with refinement).
            masks: stride -> (B, h, w) bool; where False there is nothing to be found.
        """
        heads, levels, points = self.shape
        if len(maps) != levels:
            raise ValueError(f"made for {levels} maps, got strides {sorted(maps)}.")
        B, Q, _ = queries.shape
        strides = sorted(maps)
        values = []
        for stride in strides:
            value = self.value(maps[stride])
            if masks is not None:
                value = jnp.where(masks[stride][..., None], value, 0.0)
            values.append(value.reshape(*value.shape[:3], heads, -1))
        offsets = self.offsets(queries).reshape(B, Q, heads, levels, points, 2)
        per_cell = jnp.asarray(strides, jnp.float32)[:, None]
        cells = jnp.asarray(references_px, jnp.float32)[..., None, :]
        cells = cells / per_cell  # (..., Q, levels, 2)
        if sizes_px is not None:
            edges = sizes_px.astype(jnp.float32)[..., None, :] / (2.0 * points * per_cell)
            offsets = offsets * edges[:, :, None, :, None, :]
        locations = cells[..., None, :, None, :] + offsets
        logits = self.weights(queries).astype(jnp.float32)
        weights = jax.nn.softmax(logits.reshape(B, Q, heads, levels * points))
        weights = weights.reshape(B, Q, heads, levels, points)
        out = deformable_attention(values, locations, weights, sampling=self.sampling)
        return self.out(out.reshape(B, Q, -1))


def ring(heads: int, levels: int, points: int) -> np.ndarray:
    """Returns the first offsets (heads, levels, points, 2): a ray of (x, y) per head.

    Rays end on a square around the reference, so that axis and diagonal steps are cells.
    """
    angles = 2.0 * np.pi * np.arange(heads) / heads
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    rays = rays / np.abs(rays).max(-1, keepdims=True)
    steps = np.arange(1, points + 1)[:, None]
    offsets = rays[:, None, None, :] * steps  # (heads, 1, points, 2)
    return np.broadcast_to(offsets, (heads, levels, points, 2)).astype(np.float32)


def cell_centers_px(hw: tuple[int, int], stride: int) -> np.ndarray:
    """Returns (h * w, 2) float32: the center (x, y) in pixels of each cell, row by row."""
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    centers = np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5
    return (centers * stride).astype(np.float32)
