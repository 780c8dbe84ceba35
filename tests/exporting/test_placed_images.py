"""Resizing inside a program is that of the data pipeline, but for single gray levels."""

import jax
import numpy as np
import pytest
from PIL import Image

from hybrid_jax.data.transforms.center_crop import CenterCrop
from hybrid_jax.data.transforms.letterbox import Letterbox
from hybrid_jax.data.transforms.resize import Resize
from hybrid_jax.data.transforms.sample import sample_of
from hybrid_jax.exporting.placed_images import place

STEPS = (
    Letterbox((32, 64), "bicubic"),
    CenterCrop((32, 48), 0.875, "bicubic"),
    Resize((32, 64), "bilinear"),
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_pixels_and_geometry_are_those_of_the_pipeline(step):
    rng = np.random.default_rng(0)
    for hw in ((90, 50), (33, 64)):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        image = np.asarray(small.resize(hw[::-1]))
        mask = np.zeros(hw, np.uint8)
        example = dict(image=image, segmentation=mask)
        expected = step(sample_of(example, ("segmentation",)), None)
        placed = jax.jit(lambda images: place(images, step))(np.stack([image, image]))
        off = np.abs(np.asarray(placed.image[1]) - expected.image)
        assert off.max() <= 1.0
        assert off.mean() < 0.25
        for name, found in placed.geometry.items():
            np.testing.assert_allclose(found[1], getattr(expected, name), rtol=1e-6)


def test_other_steps_are_refused():
    with pytest.raises(TypeError, match="expected a step of evaluation"):
        place(np.zeros((1, 4, 4, 3), np.uint8), None)
