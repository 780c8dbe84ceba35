"""What happens to an example on the host, in order.

A new transform is a file beside this one and a line here. What costs little on the device
(flips, erasing, mixing, normalizing) happens there.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from ml_collections import ConfigDict

from hybrid_jax.data.transforms.center_crop import CenterCrop
from hybrid_jax.data.transforms.color_jitter import ColorJitter
from hybrid_jax.data.transforms.letterbox import Letterbox
from hybrid_jax.data.transforms.pad_and_crop import PadAndCrop
from hybrid_jax.data.transforms.rand_augment import RandAugment
from hybrid_jax.data.transforms.random_resized_crop import RandomResizedCrop
from hybrid_jax.data.transforms.resize import Resize
from hybrid_jax.data.transforms.sample import Sample
from hybrid_jax.data.transforms.scale_jitter import ScaleJitter


class Transform(Protocol):
    """One step of a recipe: picklable, and moves all that the sample has."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the changed sample; may draw from `rng`."""
        ...


class Placing(Transform, Protocol):
    """The first step of training, which gives all images one size."""

    def largest_scale(self, hw: tuple[int, int]) -> float:
        """Returns px of the result per px of an image of this size, at most."""
        ...


class FixedTransform(Protocol):
    """A step that draws nothing, so that evaluation can use it, too."""

    def __call__(self, sample: Sample, rng: np.random.Generator | None) -> Sample:
        """Returns the changed sample; evaluation gives no `rng`."""
        ...

    def largest_scale(self, hw: tuple[int, int]) -> float:
        """Returns px of the result per px of an image of this size, at most."""
        ...


def training_recipe(data: ConfigDict) -> tuple[Placing, *tuple[Transform, ...]]:
    """Returns the steps of training; the first gives all images one size.

    Args:
        data: the resolved `config.data`.
    """
    return (
        _crop(data),
        ColorJitter(data.color_jitter),
        RandAugment(data.randaugment_layers, data.randaugment_magnitude),
    )


def evaluation_recipe(data: ConfigDict, *, targets: Sequence[str]) -> tuple[FixedTransform]:
    """Returns the steps of evaluation, the same for an image every time.

    Boxes and masks are scored over the whole image, so `data.eval_fit` fits it in. A label
    alone is read off the center, `data.eval_crop` of the image, as published models are;
    but a model that was trained on whole images in a frame is evaluated on such.

    Args:
        data: the resolved `config.data`.
        targets: of "label", "boxes" and "segmentation".
    """
    whole = tuple(targets) != ("label",) or data.crop in ("letterbox", "scale_jitter")
    hw, interpolation = _hw(data), data.interpolation
    if not whole:
        return (CenterCrop(hw, data.eval_crop, interpolation),)
    if data.eval_fit == "letterbox":
        return (Letterbox(hw, interpolation),)
    return (Resize(hw, interpolation),)


def _crop(data: ConfigDict) -> Placing:
    hw, interpolation = _hw(data), data.interpolation
    if data.crop == "random_resized":
        area, ratio = tuple(data.crop_area), tuple(data.crop_ratio)
        return RandomResizedCrop(hw, area, ratio, interpolation)
    if data.crop == "pad":
        return PadAndCrop(hw, data.pad_px, interpolation)
    if data.crop == "letterbox":
        return Letterbox(hw, interpolation)
    if data.crop == "scale_jitter":
        return ScaleJitter(hw, tuple(data.scale_jitter), interpolation)
    return Resize(hw, interpolation)


def _hw(data: ConfigDict) -> tuple[int, int]:
    height, width = data.image_size
    return height, width
