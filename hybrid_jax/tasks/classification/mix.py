"""Augmentations of batches on the device, inside the training step."""

import jax
import jax.numpy as jnp


def flip(image: jax.Array, *, rate: float, key: jax.Array) -> jax.Array:
    """Flips each image (B, H, W, 3) left to right with probability `rate`."""
    flipped = jax.random.bernoulli(key, rate, (image.shape[0], 1, 1, 1))
    return jnp.where(flipped, image[:, :, ::-1], image)


def erase(image: jax.Array, *, rate: float, key: jax.Array) -> jax.Array:
    """Sets a random rectangle of each image to zero with probability `rate`.

    Random erasing (Zhong et al., 2017): area 2 to 33 % of the image, aspect ratio 0.3 to
    3.3. Zero is the mean of normalized images.
    """
    B, H, W, _ = image.shape
    key_rate, key_area, key_ratio, key_place = jax.random.split(key, 4)
    erased = jax.random.bernoulli(key_rate, rate, (B,))
    area = jax.random.uniform(key_area, (B,), minval=0.02, maxval=1 / 3)
    log_ratio = jax.random.uniform(
        key_ratio, (B,), minval=jnp.log(0.3), maxval=jnp.log(1 / 0.3)
    )
    box = _boxes(area, jnp.exp(log_ratio), hw=(H, W), key=key_place)
    return jnp.where((box & erased[:, None, None])[..., None], 0.0, image)


def mixup(
    image: jax.Array, target: jax.Array, *, alpha: float, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mixes every image and target with the next one of the batch (Zhang et al., 2017).

    Args:
        image: (B, H, W, 3) normalized.
        target: (B, K) class weights.
        alpha: the mixing weight is drawn from Beta(alpha, alpha), once for the batch.
    """
    share = jax.random.beta(key, alpha, alpha).astype(image.dtype)
    return _blend(image, share), _blend(target, share)


def cutmix(
    image: jax.Array, target: jax.Array, *, alpha: float, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Pastes a rectangle of the next image of the batch into each (Yun et al., 2019).

    The target is mixed by the pasted area after clipping at the border. Arguments as in
    `mixup`.
    """
    H, W = image.shape[1:3]
    key_area, key_place = jax.random.split(key)
    area = 1.0 - jax.random.beta(key_area, alpha, alpha)
    # The rectangle has the aspect ratio of the image.
    box = _boxes(area[None], jnp.full(1, W / H), hw=(H, W), key=key_place)
    share = 1.0 - box.mean().astype(target.dtype)
    pasted = jnp.where(box[..., None], jnp.roll(image, 1, axis=0), image)
    return pasted, _blend(target, share)


def _blend(x: jax.Array, share: jax.Array) -> jax.Array:
    return share * x + (1.0 - share) * jnp.roll(x, 1, axis=0)


def _boxes(area, ratio, *, hw: tuple[int, int], key: jax.Array) -> jax.Array:
    """Returns (B, H, W) masks of rectangles with centers anywhere in the image.

    Args:
        area: (B,) fraction of the image, before clipping at the border.
        ratio: (B,) width over height, in pixels.
    """
    H, W = hw
    height = jnp.sqrt(area * H * W / ratio)
    width = jnp.sqrt(area * H * W * ratio)
    center = jax.random.uniform(key, (2, area.shape[0]))
    rows, columns = jnp.arange(H) + 0.5, jnp.arange(W) + 0.5
    in_rows = jnp.abs(rows - center[0, :, None] * H) < height[:, None] / 2
    in_columns = jnp.abs(columns - center[1, :, None] * W) < width[:, None] / 2
    return in_rows[:, :, None] & in_columns[:, None, :]
