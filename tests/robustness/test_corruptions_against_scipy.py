"""Corruptions without a draw against numpy, scipy and PIL; draws by their statistics."""

import colorsys
import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sample_images import sample_images
from scipy import ndimage

from hybrid_jax.robustness.corruptions import CORRUPTIONS
from hybrid_jax.robustness.corruptions.defocus_blur import disk
from hybrid_jax.robustness.corruptions.motion_blur import blur_along
from hybrid_jax.robustness.corruptions.plasma import plasma

HW = (37, 52)


def found_and_image(name, level):
    image = sample_images(1, HW)[0]
    found = CORRUPTIONS[name].function(image, jax.random.key(0), level=level)
    return np.asarray(found), np.asarray(image, np.float64)


@pytest.mark.parametrize("sigma", [0.4, 2, 6])
def test_gaussian_blur(sigma):
    found, image = found_and_image("gaussian_blur", sigma)
    expected = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("level", [(0.5, 0.6), (3, 0.1), (8, 0.5), (10, 0.5)])
def test_defocus_blur_is_the_direct_correlation_with_a_disk(level):
    found, image = found_and_image("defocus_blur", level)
    kernel = disk(*level)
    # The reference softens the disk after it is normalized, and repeats its border.
    assert kernel.sum() == pytest.approx(1.0, abs=0.02)
    expected = ndimage.correlate(image, kernel[..., None], mode="mirror")
    np.testing.assert_allclose(found, np.clip(expected, 0, 255), atol=2e-3)


def test_disk_is_round_and_of_its_radius():
    kernel = disk(6, 0.1)
    distance = np.hypot(*np.mgrid[-8:9, -8:9])
    assert (kernel[distance <= 6] > 1e-4).all()
    assert (kernel[distance >= 7] < 1e-6).all()


def test_zoom_blur():
    found, image = found_and_image("zoom_blur", (1.31, 0.03))
    total, factors = image.copy(), np.arange(1, 1.31, 0.03)
    for factor in factors:
        part = [int(np.ceil(n / factor)) for n in HW]
        top, left = ((n - p) // 2 for n, p in zip(HW, part, strict=True))
        middle = image[top : top + part[0], left : left + part[1]]
        large = ndimage.zoom(middle, (factor, factor, 1), order=1)
        total += large[: HW[0], : HW[1]]
    np.testing.assert_allclose(found, total / (len(factors) + 1), atol=2e-3)


def test_contrast():
    found, image = found_and_image("contrast", 0.2)
    mean = image.mean((0, 1))
    np.testing.assert_allclose(found, mean + 0.2 * (image - mean), atol=1e-3)


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_brightness(level):
    found, image = found_and_image("brightness", level)
    np.testing.assert_allclose(
        found, by_hsv(image, lambda h, s, v: (h, s, min(v + level, 1))), atol=2e-3
    )


@pytest.mark.parametrize("level", [(0.3, 0), (5, 0.1)])
def test_saturate(level):
    found, image = found_and_image("saturate", level)
    times, plus = level
    expected = by_hsv(image, lambda h, s, v: (h, min(s * times + plus, 1), v))
    np.testing.assert_allclose(found, expected, atol=2e-3)


def by_hsv(image, change):
    """Returns an image (H, W, 3) with every color changed as (H, S, V)."""
    colors = [
        colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*color)))
        for color in image.reshape(-1, 3) / 255
    ]
    return 255 * np.reshape(colors, image.shape)


@pytest.mark.parametrize("level", [0.95, 0.6, 0.25])
def test_pixelate_is_that_of_pil(level):
    found, image = found_and_image("pixelate", level)
    size = (int(HW[1] * level), int(HW[0] * level))
    small = Image.fromarray(image.astype(np.uint8)).resize(size, Image.Resampling.BOX)
    expected = np.asarray(small.resize(HW[::-1], Image.Resampling.NEAREST), float)
    # PIL adds in fixed point.
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.99


@pytest.mark.parametrize("quality", [80, 40, 25, 7])
def test_jpeg_compression_is_nearly_that_of_pil(quality):
    found, image = found_and_image("jpeg_compression", quality)
    file = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file), float)
    assert np.abs(found - expected).mean() < 0.5
    assert np.abs(image - expected).mean() > 3


@pytest.mark.parametrize("angle", [-100.0, -31.0, 0.0, 44.0])
def test_blur_along_a_line_sums_moved_copies(angle):
    image = np.asarray(sample_images(1, HW)[0], np.float64)
    radius, sigma = 7, 4.0
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    expected = np.zeros_like(image)
    for step, weight in enumerate(weights / weights.sum()):
        down = -int(np.ceil(step * np.sin(np.deg2rad(angle)) - 0.5))
        right = -int(np.ceil(step * np.cos(np.deg2rad(angle)) - 0.5))
        expected += weight * ndimage.shift(image, (down, right, 0), order=0, mode="nearest")
    found = blur_along(jnp.asarray(image, jnp.float32), angle, level=(radius, sigma))
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_noise_has_the_moments_of_its_law():
    gray = jnp.full((128, 128, 3), 127.5)
    draw = {
        name: np.asarray(CORRUPTIONS[name].function(gray, jax.random.key(0), level=level))
        for name, level in dict(
            gaussian_noise=0.08, shot_noise=60, speckle_noise=0.15, impulse_noise=0.1
        ).items()
    }
    # 49,152 values: the deviation is known to 0.3 %.
    assert draw["gaussian_noise"].std() == pytest.approx(255 * 0.08, rel=0.02)
    assert draw["shot_noise"].std() == pytest.approx(255 * np.sqrt(30) / 60, rel=0.02)
    assert draw["speckle_noise"].std() == pytest.approx(127.5 * 0.15, rel=0.02)
    for value in (0.0, 255.0):
        assert (draw["impulse_noise"] == value).mean() == pytest.approx(0.05, rel=0.1)
    for found in draw.values():
        assert found.mean() == pytest.approx(127.5, rel=0.01)


def test_clouds_span_their_range_and_are_smoother_the_faster_noise_decays():
    cloud = jax.jit(functools.partial(plasma, hw=(64, 64)))
    rough, smooth = (
        np.asarray(cloud(jax.random.key(0), decay=decay)) for decay in (1.2, 3.0)
    )
    for clouds in (rough, smooth):
        assert (clouds.min(), clouds.max()) == (0.0, 1.0)
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(rough)).mean()


def test_elastic_field_moves_pixels_without_changing_flat_images():
    flat = jnp.full((32, 32, 3), 77.0)
    function = CORRUPTIONS["elastic_transform"].function
    moved = jax.jit(functools.partial(function, level=(0.1, 0.03, 0.03)))
    found = moved(flat, jax.random.key(0))
    np.testing.assert_allclose(found, flat, rtol=1e-5)
