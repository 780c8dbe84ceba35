"""Windows, mirrored passes and scales against what must come out of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.config import defaults
from hybrid_jax.ops.padding_mask import rectangle_mask
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.tasks.segmentation.inference import segment, window_starts

H, W = 22, 27


def run(model, image, *, content=None, **changes):
    """Applies `segment`, compiled: op by op it takes ten times as long."""
    options = defaults().task.segmentation
    options.update(changes)
    return jax.jit(
        lambda image, content: segment(
            model, image, content_yxyx_px=content, options=options
        )
    )(image, content)


def images(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((2, H, W, 3)), jnp.float32)


def colors(image, *, content_yxyx_px):
    """A model whose logits are the pixels' own, as convolutions of 1x1 are."""
    return SegmentationOutputs(logits=jnp.sin(image), stride=1)


def coarse(image, *, content_yxyx_px):
    """A model of stride 4 that tells left from right: cell means, weighted by place."""
    _, h, w, _ = image.shape
    image = jnp.pad(image, ((0, 0), (0, -h % 4), (0, -w % 4), (0, 0)))
    cells = image.reshape(len(image), -(-h // 4), 4, -(-w // 4), 4, 3).mean((2, 4))
    return SegmentationOutputs(
        logits=cells * jnp.arange(1, cells.shape[2] + 1)[:, None], stride=4
    )


def enlarged(cells):
    """Returns cells of stride 4 at every pixel."""
    return jax.image.resize(cells, (2, 24, 28, 3), "linear")[:, :H, :W]


def test_plain_pass_is_the_models_own():
    outputs = run(coarse, images())
    wanted = coarse(images(), content_yxyx_px=None)
    assert outputs.stride == 4
    np.testing.assert_allclose(outputs.logits, wanted.logits, atol=1e-5)


def test_one_window_as_large_as_the_image_is_the_plain_pass():
    slid = run(coarse, images(), inference="slide", window=(H, W))
    assert slid.stride == 1
    plain = enlarged(coarse(images(), content_yxyx_px=None).logits)
    np.testing.assert_allclose(slid.logits, plain, atol=1e-5)


@pytest.mark.parametrize("window", [(8, 9), (40, 40)])
def test_windows_of_a_model_of_single_pixels_change_nothing(window):
    outputs = run(colors, images(), inference="slide", window=window, slide_stride=0.6)
    np.testing.assert_allclose(outputs.logits, np.sin(images()), atol=1e-6)


def test_overlapping_windows_are_averaged_by_how_often_they_see_a_pixel():
    def where(image, *, content_yxyx_px):
        columns = jnp.arange(image.shape[2], dtype=jnp.float32)
        logits = jnp.broadcast_to(columns[:, None], (*image.shape[:3], 1))
        return SegmentationOutputs(logits=logits, stride=1)

    outputs = run(where, images(), inference="slide", window=(H, 12), slide_stride=0.5)
    sums, seen = np.zeros(W), np.zeros(W)
    for start in (0, 6, 12, 15):
        sums[start : start + 12] += np.arange(12)
        seen[start : start + 12] += 1
    logits = np.asarray(outputs.logits)
    np.testing.assert_allclose(logits[0, 3, :, 0], sums / seen, rtol=1e-6)


@pytest.mark.parametrize(
    ("side", "window", "share", "starts"),
    [
        (10, 10, 0.5, [0]),
        (10, 4, 1.0, [0, 4, 6]),
        (12, 4, 1.0, [0, 4, 8]),
        (11, 4, 0.5, [0, 2, 4, 6, 7]),
    ],
)
def test_windows_reach_the_end_and_not_beyond(side, window, share, starts):
    assert window_starts(side, window=window, share=share) == starts


def test_flip_of_an_equivariant_model_changes_nothing():
    flipped = run(colors, images(), flip=True)
    np.testing.assert_allclose(flipped.logits, np.sin(images()), atol=1e-6)


def test_flip_averages_with_the_mirrored_pass():
    def pixels(image):
        return enlarged(coarse(image, content_yxyx_px=None).logits)

    mirrored = pixels(images()[:, :, ::-1])[:, :, ::-1]
    wanted = (pixels(images()) + mirrored) / 2
    assert np.abs(mirrored - wanted).max() > 0.1
    np.testing.assert_allclose(run(coarse, images(), flip=True).logits, wanted, atol=1e-5)


def test_scale_one_beside_itself_is_the_plain_pass():
    outputs = run(colors, images(), scales=(1.0, 1.0))
    np.testing.assert_allclose(outputs.logits, np.sin(images()), atol=1e-6)


def test_scales_are_averaged_at_the_images_size():
    ramp = jnp.broadcast_to(jnp.linspace(0.0, 1.0, W)[:, None], (2, H, W, 3))
    shapes = []

    def keeps(image, *, content_yxyx_px):
        shapes.append(image.shape[1:3])
        return SegmentationOutputs(logits=image, stride=1)

    outputs = run(keeps, ramp, scales=(0.5, 1.0, 2.0))
    assert shapes == [(11, 14), (22, 27), (44, 54)]
    # A straight ramp survives resizing away from the edges.
    logits, wanted = (np.asarray(x)[:, :, 3:-3] for x in (outputs.logits, ramp))
    np.testing.assert_allclose(logits, wanted, atol=1e-3)


def test_every_pass_is_told_what_is_padding():
    content = np.array([[0, 0, 15, 27], [0, 4, 22, 20]])
    image = np.zeros((2, H, W, 3), np.float32)
    for row, (top, left, bottom, right) in enumerate(content.tolist()):
        image[row, top:bottom, left:right] = 1.0

    def says(image, *, content_yxyx_px):
        inside = rectangle_mask(content_yxyx_px, hw=image.shape[1:3])
        return SegmentationOutputs(inside[..., None].astype(jnp.float32), stride=1)

    passes = dict(inference="slide", window=(9, 8), flip=True)
    logits = run(says, image, content=content, **passes).logits
    np.testing.assert_allclose(logits[..., 0], image[..., 0], atol=1e-6)


def test_all_passes_together_are_one_program():
    passes = dict(inference="slide", window=(16, 16), flip=True, scales=(0.75, 1.0))
    outputs = run(coarse, images(), **passes)

    def slid(image, tops, lefts):
        """Averages the windows of 16 px, their 4 x 4 cells enlarged."""
        sums, seen = np.zeros(image.shape), np.zeros((*image.shape[1:3], 1))
        for top, left in itertools.product(tops, lefts):
            place = np.s_[:, top : top + 16, left : left + 16]
            cells = coarse(image[place], content_yxyx_px=None).logits
            sums[place] += jax.image.resize(cells, (2, 16, 16, 3), "linear")
            seen[place[1:]] += 1
        return sums / seen

    wanted = np.zeros((2, H, W, 3))
    # Windows are 11 px apart, and the last ones end where the image ends.
    for h, w, *starts in ((16, 20, (0,), (0, 4)), (H, W, (0, 6), (0, 11))):
        image = jax.image.resize(images(), (2, h, w, 3), "linear")
        mirrored = slid(image[:, :, ::-1], *starts)[:, :, ::-1]
        for logits in (slid(image, *starts), mirrored):
            wanted += jax.image.resize(jnp.asarray(logits), wanted.shape, "linear") / 4
    assert outputs.stride == 1
    np.testing.assert_allclose(outputs.logits, wanted, atol=1e-4)


@pytest.mark.parametrize(("stride", "alike"), [(1, True), (4, False)])
def test_logits_of_every_pixel_are_not_resampled(stride, alike):
    model = colors if stride == 1 else coarse

    def flipped(image):
        options = defaults().task.segmentation
        options.flip = True
        return segment(model, image, content_yxyx_px=None, options=options).logits

    assert ("dot_general" not in str(jax.make_jaxpr(flipped)(images()))) == alike


def test_logits_that_reach_past_the_image_are_cut_to_it():
    def past(image, *, content_yxyx_px):
        logits = jnp.pad(jnp.sin(image), ((0, 0), (0, 2), (0, 1), (0, 0)))
        return SegmentationOutputs(logits=logits, stride=1)

    logits = run(past, images(), flip=True).logits
    np.testing.assert_allclose(logits, np.sin(images()), atol=1e-6)
