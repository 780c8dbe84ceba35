"""Suites that move what images show, with the boxes and masks of it."""

import jax
import jax.numpy as jnp

from hybrid_jax.robustness.moving.motion import moved_boxes, moved_image, moved_mask
from hybrid_jax.robustness.moving.moved_truth import LEAST_SIDE_PX, LEAST_VISIBLE
from hybrid_jax.robustness.suite import Batch, Draw, LossGradient, Suite, whole_numbers


class MotionSuite(Suite):
    """A suite of which a subclass says `motion` alone.

    What comes in over the border is the content mirrored at it, so that no dark corner
    tells of the motion. With boxes it is gray: mirrored objects would have no box.
    """

    moves = True

    def change(
        self, batch: Batch, draw: Draw, *, loss_gradient: LossGradient
    ) -> dict[str, jax.Array]:
        """Returns `image` uint8, and boxes or masks where they then lie."""
        del loss_gradient
        motion, image = self.motion(draw.line, draw.strength), batch["image"]
        B, H, W, _ = image.shape
        content = batch.get("content_yxyx_px", jnp.tile(jnp.array([0, 0, H, W]), (B, 1)))
        content = content.astype(jnp.float32)
        outside = "gray" if "boxes_xyxy_px" in batch else "reflected"

        def move(image: jax.Array, content: jax.Array) -> jax.Array:
            return moved_image(image, motion, content_yxyx=content, outside=outside)

        moved = jax.vmap(move)(image.astype(jnp.float32), content)
        changed = dict(image=whole_numbers(moved))
        scale = jnp.ones(2)
        if "segmentation" in batch:
            changed["segmentation"] = jax.vmap(
                lambda mask, rectangle: moved_mask(
                    mask, motion, content_yxyx=rectangle, scale_yx=scale
                )
            )(batch["segmentation"], content)
        if "boxes_xyxy_px" in batch:
            boxes, share = jax.vmap(
                lambda boxes, rectangle: moved_boxes(
                    boxes, motion, content_yxyx=rectangle, scale_yx=scale
                )
            )(batch["boxes_xyxy_px"], content)
            sides = boxes[..., 2:] - boxes[..., :2]
            left = (share >= LEAST_VISIBLE) & (sides >= LEAST_SIDE_PX).all(-1)
            kept = batch["box_mask"] & left
            boxes = jnp.where(kept[..., None], boxes, 0.0)
            changed |= dict(boxes_xyxy_px=boxes, box_mask=kept)
        return changed
