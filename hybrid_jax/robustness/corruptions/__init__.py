"""The corruptions of ImageNet-C, on the device and batched.

A corruption is a function `(image, key, *, level) -> image` of one image (H, W, 3), float32
in [0, 255]. `corrupt` maps it over a batch. So an image is corrupted in the same way in
whatever batch it comes.
"""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.robustness.corruptions.defocus_blur import defocus_blur
from hybrid_jax.robustness.corruptions.elastic_transform import elastic_transform
from hybrid_jax.robustness.corruptions.fog import fog
from hybrid_jax.robustness.corruptions.frost_procedural import frost_procedural
from hybrid_jax.robustness.corruptions.gaussian_blur import gaussian_blur
from hybrid_jax.robustness.corruptions.glass_blur import glass_blur
from hybrid_jax.robustness.corruptions.jpeg_compression import jpeg_compression
from hybrid_jax.robustness.corruptions.levels import SEVERITIES, level_of, table_side
from hybrid_jax.robustness.corruptions.motion_blur import motion_blur
from hybrid_jax.robustness.corruptions.noise import (
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from hybrid_jax.robustness.corruptions.pixelate import pixelate
from hybrid_jax.robustness.corruptions.snow import snow
from hybrid_jax.robustness.corruptions.spatter import spatter
from hybrid_jax.robustness.corruptions.tone import brightness, contrast, saturate
from hybrid_jax.robustness.corruptions.zoom_blur import zoom_blur

Likeness = Literal["exact", "same distribution", "own variant"]


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One corruption and what it is to the reference of ImageNet-C.

    Attributes:
        function: `(image, key, *, level) -> image`.
        likeness: "exact", at most one gray level apart and nothing random; "same
            distribution", the same function of numbers drawn otherwise; "own variant".
        standard: whether it is one of the 15 over which mCE is a mean.
    """

    function: Callable[..., jax.Array]
    likeness: Likeness
    standard: bool = True


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(gaussian_noise, "same distribution"),
    "shot_noise": Corruption(shot_noise, "same distribution"),
    "impulse_noise": Corruption(impulse_noise, "same distribution"),
    "defocus_blur": Corruption(defocus_blur, "exact"),
    "glass_blur": Corruption(glass_blur, "own variant"),
    "motion_blur": Corruption(motion_blur, "same distribution"),
    "zoom_blur": Corruption(zoom_blur, "exact"),
    "snow": Corruption(snow, "same distribution"),
    "frost_procedural": Corruption(frost_procedural, "own variant"),
    "fog": Corruption(fog, "same distribution"),
    "brightness": Corruption(brightness, "exact"),
    "contrast": Corruption(contrast, "exact"),
    "elastic_transform": Corruption(elastic_transform, "same distribution"),
    "pixelate": Corruption(pixelate, "exact"),
    "jpeg_compression": Corruption(jpeg_compression, "own variant"),
    "speckle_noise": Corruption(speckle_noise, "same distribution", standard=False),
    "gaussian_blur": Corruption(gaussian_blur, "exact", standard=False),
    "spatter": Corruption(spatter, "own variant", standard=False),
    "saturate": Corruption(saturate, "exact", standard=False),
}


def corrupt(
    images: jax.Array, key: jax.Array, *, name: str, severity: int, index: jax.Array
) -> jax.Array:
    """Returns a batch with every image corrupted by its own draw.

    Args:
        images: (B, H, W, 3) float32 in [0, 255].
        key: of the whole data set; the draw of an image depends on it, the corruption, the
            severity and the image's number alone.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        index: (B,) int32, the number of each image in its data set.

    Returns:
        (B, H, W, 3) float32 in [0, 255], not rounded.

    Raises:
        UserError: an unknown corruption or severity.
    """
    check_choice([name], [severity])
    hw = (images.shape[1], images.shape[2])
    level = level_of(name, severity=severity, side=table_side(hw))
    key = jax.random.fold_in(key, zlib.crc32(f"{name} {severity}".encode()))

    def one(image: jax.Array, number: jax.Array) -> jax.Array:
        own_key = jax.random.fold_in(key, number)
        return CORRUPTIONS[name].function(image, own_key, level=level)

    return jax.vmap(one)(images.astype(jnp.float32), index)


def check_choice(names: list[str], severities: list[int]) -> None:
    """Checks names of corruptions, and severities.

    Raises:
        UserError: one is unknown.
    """
    for name in names:
        if name not in CORRUPTIONS:
            raise UserError(
                f"unknown corruption {name!r}.{nearest(name, CORRUPTIONS)} "
                f"Known: {', '.join(CORRUPTIONS)}."
            )
    for severity in severities:
        if severity not in SEVERITIES:
            raise UserError(f"severity: expected 1, 2, 3, 4 or 5, got {severity!r}.")
