"""Turns, zooms and shifts against scipy and brute force; image, mask and box alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sample_images import sample_images
from scipy import ndimage

from hybrid_jax.robustness.moving.known_truth import KnownTruth
from hybrid_jax.robustness.moving.motion import (
    Motion,
    moved_boxes,
    moved_image,
    moved_mask,
    moved_points,
    reflected,
)
from hybrid_jax.robustness.moving.moved_truth import MovedTruth
from hybrid_jax.robustness.suite import Draw
from hybrid_jax.robustness.suites import SUITES

HW = (24, 40)
WHOLE = np.array([0, 0, *HW], np.float32)
ONES = np.ones(2, np.float32)
MOTIONS = [
    Motion(degrees=30.0),
    Motion(degrees=-137.0, zoom=0.6),
    Motion(zoom=1.7),
    Motion(down=0.2, right=-0.3),
    Motion(degrees=75.0, zoom=1.3, down=-0.1, right=0.25),
]


def by_complex_numbers(points_yx, motion, *, content=WHOLE, scale=ONES):
    """Where points lie afterwards, by another way than the code: x - iy turns left."""
    top, left, bottom, right = content
    center = complex((left + right) / 2 * scale[1], -(top + bottom) / 2 * scale[0])
    z = points_yx[..., 1] * scale[1] - 1j * points_yx[..., 0] * scale[0]
    z = (z - center) * motion.zoom * np.exp(1j * np.deg2rad(motion.degrees)) + center
    x = z.real / scale[1] + motion.right * (right - left)
    return np.stack([-z.imag / scale[0] + motion.down * (bottom - top), x], -1)


@pytest.mark.parametrize("motion", MOTIONS)
def test_points_move_as_complex_numbers_do(motion):
    points = np.random.default_rng(0).uniform(-5, 45, (20, 2)).astype(np.float32)
    content, scale = np.array([3, 5, 20, 33], np.float32), np.array([2.0, 0.5], np.float32)
    found = moved_points(points, motion, content_yxyx=content, scale_yx=scale)
    expected = by_complex_numbers(points, motion, content=content, scale=scale)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@jax.jit
def mirrored(image, motion, content=WHOLE):
    """Returns a moved image, from one program for all motions."""
    content = jnp.asarray(content)
    return moved_image(image, motion, content_yxyx=content, outside="reflected")


@pytest.mark.parametrize("motion", MOTIONS)
def test_image_is_that_of_scipy_with_mirrored_borders(motion):
    image = np.asarray(sample_images(1, HW)[0])
    found = mirrored(image, motion)
    unit = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    origin, down, right = by_complex_numbers(unit, motion)
    matrix = np.linalg.inv(np.stack([down - origin, right - origin], 1))
    offset = matrix @ (0.5 - origin) - 0.5  # scipy counts from the first pixel's center
    for channel in range(3):
        expected = ndimage.affine_transform(
            image[..., channel].astype(float),
            matrix,
            offset,
            order=1,
            mode="reflect",
        )
        np.testing.assert_allclose(found[..., channel], expected, atol=0.02)


def test_quarter_turns_are_exact_and_to_the_left():
    image = sample_images(1, HW)[0]
    content = np.array([0.0, 0.0, 24.0, 24.0], np.float32)
    for quarters in (-1, 1, 2):
        found = mirrored(image, Motion(degrees=90.0 * quarters), content=content)
        np.testing.assert_array_equal(found[:, :24], np.rot90(image[:, :24], quarters))


@pytest.mark.parametrize("motion", MOTIONS)
def test_mask_is_that_of_brute_force(motion):
    mask = np.random.default_rng(0).integers(0, 9, HW).astype(np.uint8)
    content = np.array([2, 4, 22, 37], np.float32)
    where = dict(content_yxyx=content, scale_yx=np.array([1.5, 1.0], np.float32))
    expected = mask.copy()
    # What each point of a fine grid becomes, mirrored cells of the content included.
    unit = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    origin, down, right = by_complex_numbers(
        unit, motion, content=content, scale=where["scale_yx"]
    )
    inverse = np.linalg.inv(np.stack([down - origin, right - origin], 1))
    part = mask[2:22, 4:37]
    for row in range(2, 22):
        for column in range(4, 37):
            y, x = inverse @ (np.array([row + 0.5, column + 0.5]) - origin)
            y, x = int(np.floor(y)) - 2, int(np.floor(x)) - 4
            tiles = [np.arange(n) for n in part.shape]
            tiles = [np.concatenate([t, t[::-1]]) for t in tiles]
            expected[row, column] = part[tiles[0][y % 40], tiles[1][x % 66]]
    found = moved_mask(mask, motion, **where)
    assert found.dtype == np.uint8
    # A center that falls on the border of two pixels may go either way.
    assert (found != expected).mean() < 0.003
    traced = jax.jit(moved_mask)(mask, motion, **where)
    assert (np.asarray(traced) != found).mean() < 0.003


@pytest.mark.parametrize("motion", MOTIONS)
def test_boxes_are_around_every_moved_point(motion):
    boxes = np.array([[3, 2, 20, 15], [30, 10, 39, 24], [0, 0, 2, 3]], np.float32)
    found, share = moved_boxes(boxes, motion, content_yxyx=WHOLE, scale_yx=ONES)
    for box, moved, left in zip(boxes, found, share, strict=True):
        y, x = np.meshgrid(*(np.linspace(box[i], box[i + 2], 41) for i in (1, 0)))
        points = by_complex_numbers(np.stack([y, x], -1).reshape(-1, 2), motion)
        low, high = points.min(0), points.max(0)
        cut_low, cut_high = np.clip(low, 0, HW), np.clip(high, 0, HW)
        expected = [*cut_low[::-1], *cut_high[::-1]]
        np.testing.assert_allclose(moved, expected, atol=1e-3)
        whole, rest = np.prod(high - low), np.prod(cut_high - cut_low)
        assert left == pytest.approx(rest / whole, abs=1e-4)


def test_points_are_mirrored_until_they_are_inside():
    content = np.array([2.0, 0.0, 6.0, 10.0])
    points = np.array([[1.0, 5.0], [7.5, -1.0], [-3.0, 23.0], [2.0, 10.0]])
    expected = [[3.0, 5.0], [4.5, 1.0], [5.0, 3.0], [2.0, 10.0]]
    np.testing.assert_allclose(reflected(points, content), expected)


def detection_batch():
    """A white rectangle on black in a letterboxed image, in a batch of two rows."""
    image = np.zeros((2, 32, 32, 3), np.uint8)
    image[:, :4], image[:, 28:] = 128, 128  # padding above and below
    image[:, 10:16, 5:15] = 255
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[:, 0] = (5, 10, 15, 16)
    return dict(
        image=jnp.asarray(image),
        index=jnp.arange(2),
        mask=jnp.ones(2, bool),
        boxes_xyxy_px=jnp.asarray(boxes),
        box_mask=jnp.arange(3) < jnp.ones((2, 1)),
        content_yxyx_px=jnp.tile(jnp.array([4, 0, 28, 32]), (2, 1)),
        scale_yx=jnp.full((2, 2), 0.5),
        offset_yx=jnp.tile(jnp.array([4.0, 0.0]), (2, 1)),
    )


@functools.partial(jax.jit, static_argnames=("suite", "line"))
def changed(batch, suite, line, strength):
    draw = Draw(line, strength, jax.random.key(0))
    return SUITES.get(suite)().change(batch, draw, loss_gradient=None)


class Truth:
    """One example of 48 x 64 px with an object, and one beside the border."""

    info = None

    def __init__(self, **example):
        self.example = example

    def __len__(self):
        return 1

    def annotations(self, index):
        return dict(self.example, original_hw=(48, 64), image_id=7)


@pytest.mark.parametrize(
    ("suite", "line", "strength"),
    [
        ("rotation", "rotation", 90.0),
        ("rotation", "rotation", 180.0),
        ("scale", "scale", 1.25),
        ("translation", "down", -0.1),
        ("translation", "right", 0.25),
    ],
)
def test_image_box_and_truth_move_alike(suite, line, strength):
    batch = detection_batch()
    moved = changed(batch, suite, line, strength)
    box = np.asarray(moved["boxes_xyxy_px"][0, 0])
    assert moved["box_mask"].tolist() == [[True, False, False]] * 2
    # Half a level or more is white; the box is around it, up to the rounding of bilinear.
    y, x = np.nonzero(np.asarray(moved["image"][0, ..., 0]) > 190)
    np.testing.assert_allclose([x.min(), y.min(), x.max() + 1, y.max() + 1], box, atol=0.8)
    np.testing.assert_array_equal(moved["image"][:, :4], 128)
    # The truth, in px of the original, leads to the same box in the batch.
    original = np.array([[10, 12, 30, 24]], np.float32)
    truth = KnownTruth(Truth(boxes_xyxy_px=original, box_labels=np.array([2])))
    motion = SUITES.get(suite)().motion(line, strength)
    found = MovedTruth(truth, motion, scales_yx={0: np.array([0.5, 0.5])}).annotations(0)
    there = found["boxes_xyxy_px"][0] * 0.5 + np.array([0, 4, 0, 4])
    np.testing.assert_allclose(there, box, atol=1e-3)
    assert found["box_areas_px"] == pytest.approx(20 * 12 * motion.zoom**2)
    assert (found["image_id"], found["original_hw"]) == (7, (48, 64))


def test_gray_comes_in_with_boxes_and_the_mirrored_content_without():
    batch = detection_batch()
    gray = changed(batch, "translation", "down", 0.3)["image"]
    assert (np.asarray(gray[:, 4:11]) == 128).all()
    alone = {key: batch[key] for key in ("image", "index", "mask")}
    mirrored = changed(alone, "translation", "down", 0.25)["image"]
    np.testing.assert_array_equal(mirrored[:, :8], batch["image"][:, 7::-1])


def test_rest_of_an_object_is_a_crowd_and_nothing_is_nothing():
    boxes = np.array([[0, 0, 20, 10], [0, 0, 64, 10], [0, 20, 6, 30]], np.float32)
    labels, crowd = np.array([0, 1, 2]), np.array([False, False, False])
    truth = Truth(boxes_xyxy_px=boxes, box_labels=labels, box_crowd=crowd)
    motion = Motion(right=-18 / 64)
    scales = {0: np.ones(2)}
    found = MovedTruth(KnownTruth(truth), motion, scales_yx=scales).annotations(0)
    assert found["box_labels"].tolist() == [0, 1]
    assert found["box_crowd"].tolist() == [True, False]
    expected = [[0, 0, 2, 10], [0, 0, 46, 10]]
    np.testing.assert_allclose(found["boxes_xyxy_px"], expected, atol=1e-4)
    np.testing.assert_allclose(found["box_areas_px"], [20, 460], rtol=1e-4)


def test_masks_of_a_batch_and_of_the_truth_move_alike():
    mask = np.repeat(np.repeat(np.arange(12).reshape(3, 4), 16, 0), 16, 1).astype(np.uint8)
    batch = dict(
        image=jnp.zeros((1, 32, 32, 3), jnp.uint8),
        segmentation=jnp.full((1, 32, 32), 255, jnp.uint8).at[0, 4:28].set(mask[::2, ::2]),
        content_yxyx_px=jnp.array([[4, 0, 28, 32]]),
    )
    in_batch = changed(batch, "rotation", "rotation", 30.0)["segmentation"][0]
    truth = MovedTruth(
        KnownTruth(Truth(segmentation=mask)),
        Motion(degrees=30.0),
        scales_yx={0: np.array([0.5, 0.5])},
    ).annotations(0)["segmentation"]
    assert (np.asarray(in_batch[:4]) == 255).all()
    assert (np.asarray(in_batch[4:28]) == truth[::2, ::2]).mean() > 0.9
    assert (truth != mask).mean() > 0.3
