"""`occlusion`: images with parts hidden behind gray.

The squares are those of a grid of 11 x 11 over the image: 11 divides none of 32, 64, 224,
256, 384 and 512 px into patches (176 and 352 px it does), so that no square is a token of
a ViT, which would then have whole tokens left
(PatchDrop of Naseer et al., "Intriguing Properties of Vision Transformers", 2021, hides
those of the ViT itself).
"""

import jax
import jax.numpy as jnp

from hybrid_jax.robustness.suite import Batch, Draw, LossGradient, Suite, keys_of
from hybrid_jax.robustness.suites import SUITES

CELLS = 11  # along each side
BARS = 7
_GRAY = 128
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


@SUITES.register("occlusion")
class Occlusion(Suite):
    """Random squares, the squares that matter most to the model, and upright bars.

    Squares matter by the sum of the magnitudes of the loss's gradient in them, so each
    model hides its own. What a smaller share hides is hidden by a larger one, too.
    """

    axis = "share of the image hidden"
    neutral = 0.0
    lines = dict.fromkeys(("random_squares", "salient_squares", "bars"), _SHARES)
    gradients = dict(salient_squares=1)

    def change(
        self, batch: Batch, draw: Draw, *, loss_gradient: LossGradient
    ) -> dict[str, jax.Array]:
        """Returns `image` uint8; padding is never hidden."""
        image = batch["image"]
        B, H, W, _ = image.shape
        content = batch.get("content_yxyx_px", jnp.tile(jnp.array([0, 0, H, W]), (B, 1)))
        keys = keys_of(batch, draw)
        rows, columns = (
            jax.vmap(_shares, (0, None))(content[:, i : i + 3 : 2], n)
            for i, n in ((0, H), (1, W))
        )
        if draw.line == "bars":
            phase = jax.vmap(jax.random.uniform)(keys)[:, None]
            hidden = (jnp.mod(columns * BARS + phase, 1.0) < draw.strength)[:, None, :]
        else:
            cells = _cells(rows)[:, :, None] * CELLS + _cells(columns)[:, None, :]
            if draw.line == "salient_squares":
                weight = jnp.abs(loss_gradient(image.astype(jnp.float32))).sum(-1)
                rank = jax.vmap(_ranks_by_weight)(weight, cells)
            else:
                rank = jax.vmap(lambda key: jax.random.permutation(key, CELLS**2))(keys)
            count = jnp.round(draw.strength * CELLS**2)
            hidden = jax.vmap(jnp.take)(rank, cells) < count
        inside_rows, inside_columns = ((x >= 0.0) & (x < 1.0) for x in (rows, columns))
        hidden &= inside_rows[:, :, None] & inside_columns[:, None, :]
        return dict(image=jnp.where(hidden[..., None], jnp.uint8(_GRAY), image))


def _shares(ends_px: jax.Array, count: int) -> jax.Array:
    """Returns (count,): where pixel centers lie between two ends, 0 to 1 if inside."""
    low, high = ends_px.astype(jnp.float32)
    return (jnp.arange(count) + 0.5 - low) / jnp.maximum(high - low, 1.0)


def _cells(shares: jax.Array) -> jax.Array:
    return jnp.clip(jnp.floor(shares * CELLS), 0, CELLS - 1).astype(jnp.int32)


def _ranks_by_weight(weight: jax.Array, cells: jax.Array) -> jax.Array:
    """Returns (cells,) the place of each cell by its sum of weights (H, W), most first."""
    sums = jax.ops.segment_sum(weight.ravel(), cells.ravel(), CELLS**2)
    return jnp.argsort(jnp.argsort(-sums))
