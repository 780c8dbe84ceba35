"""What a suite is: one family of changes of images, each at several strengths."""

import zlib
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from hybrid_jax.ops.padding_mask import rectangle_mask
from hybrid_jax.robustness.moving.motion import Motion

Batch = Mapping[str, jax.Array]
LossGradient = Callable[[jax.Array], jax.Array]
"""Images (B, H, W, 3) float32 in [0, 255] -> the gradient of the loss there, as large."""


class Draw(NamedTuple):
    """One change of a suite that is to be made.

    Attributes:
        line: which one, a key of `Suite.lines`.
        strength: a number, or a traced one unless the suite is compiled for each.
        key: of the whole data set; the same for all strengths of a line.
    """

    line: str
    strength: float | jax.Array
    key: jax.Array


class Suite:
    """A family of changes; a subclass in a file of its own, registered in `SUITES`.

    Attributes:
        axis: what the strength is, with its unit.
        neutral: the strength at which images are as they were; None if there is none.
        lines: name of a change -> the strengths it is made at, in order.
        tasks: the tasks whose targets stay true; None for every task.
        compiled_for_each_strength: whether a strength decides shapes or constants.
        gradients: name of a change -> how many gradients of the loss it takes, if any.
        moves: whether `motion` says where things are afterwards.
    """

    axis: ClassVar[str]
    neutral: ClassVar[float | None]
    lines: ClassVar[Mapping[str, tuple[float, ...]]]
    tasks: ClassVar[tuple[str, ...] | None] = None
    compiled_for_each_strength: ClassVar[bool] = False
    gradients: ClassVar[Mapping[str, int]] = {}
    moves: ClassVar[bool] = False

    def change(
        self, batch: Batch, draw: Draw, *, loss_gradient: LossGradient
    ) -> dict[str, jax.Array]:
        """Returns what becomes of a batch: the keys that change.

        Args:
            batch: of the evaluation, with `image` (B, H, W, 3) uint8.
            draw: the change.
            loss_gradient: of the model that is scored. The gradient of an image does not
                depend on the others.

        Returns:
            `image` (B, H, W, 3), uint8 or float32 in [0, 255]; targets if they move.
        """
        raise NotImplementedError

    def motion(self, line: str, strength: float | jax.Array) -> Motion:
        """Returns where things are afterwards, for suites that move them."""
        raise NotImplementedError


class ImageSuite(Suite):
    """A suite whose changes see one image at a time; targets stay as they are."""

    def image(self, image: jax.Array, draw: Draw) -> jax.Array:
        """Returns (H, W, 3) float32, changed.

        Args:
            image: (H, W, 3) float32 in [0, 255].
            draw: with a key of the image's own.
        """
        raise NotImplementedError

    def change(
        self, batch: Batch, draw: Draw, *, loss_gradient: LossGradient
    ) -> dict[str, jax.Array]:
        """Returns `image` uint8, rounded, with the padding as it was."""
        del loss_gradient

        def one(image: jax.Array, key: jax.Array) -> jax.Array:
            return self.image(image, draw._replace(key=key))

        changed = jax.vmap(one)(batch["image"].astype(jnp.float32), keys_of(batch, draw))
        return dict(image=within_content(whole_numbers(changed), batch))


def keys_of(batch: Batch, draw: Draw) -> jax.Array:
    """Returns (B,) keys; that of an image depends on the line and the image's number."""
    key = jax.random.fold_in(draw.key, zlib.crc32(draw.line.encode()))
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])


def whole_numbers(image: jax.Array) -> jax.Array:
    """Returns an image as files hold it: (..., 3) uint8, rounded and cut to [0, 255]."""
    return jnp.clip(jnp.round(image), 0.0, 255.0).astype(jnp.uint8)


def within_content(changed: jax.Array, batch: Batch) -> jax.Array:
    """Returns changed images (B, H, W, 3) with the padding of the batch's images."""
    content, image = batch.get("content_yxyx_px"), batch["image"]
    if content is None:
        return changed
    inside = rectangle_mask(content, hw=(image.shape[1], image.shape[2]))[..., None]
    return jnp.where(inside, changed, image.astype(changed.dtype))
