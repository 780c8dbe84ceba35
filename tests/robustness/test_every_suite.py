"""What holds for every suite, and what each of those that move nothing does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sample_images import sample_images
from small_run import ROOT

from hybrid_jax.errors import UserError
from hybrid_jax.registry import Registry
from hybrid_jax.robustness.passes import CLEAN, Pass, passes_of
from hybrid_jax.robustness.suite import Draw, ImageSuite
from hybrid_jax.robustness.suites import SUITES
from hybrid_jax.robustness.suites.occlusion import CELLS

HW = (33, 44)  # three and four px for each square of the occlusion
LINES = [
    (suite, line)
    for suite in SUITES.names()
    if suite != "corruptions"  # they have tests of their own
    for line in SUITES.get(suite).lines
]
# Only images with boxes or masks have padding that is known.
PADDED = [each for each in LINES if SUITES.get(each[0]).tasks != ("classification",)]
GRAY = [("occlusion", line) for line in SUITES.get("occlusion").lines]


def gradient_of(target):
    """Returns the gradient of the squared distance to `target`."""
    return lambda image: 2.0 * (image - target)


@functools.cache
def program(suite, line, fixed):
    def change(batch, strength):
        strength = strength if fixed is None else fixed
        gradient = gradient_of(batch["image"].astype(jnp.float32)[:, ::-1] / 2)
        draw = Draw(line, strength, jax.random.key(0))
        return SUITES.get(suite)().change(batch, draw, loss_gradient=gradient)["image"]

    return jax.jit(change)


def changed(suite, line, strength, *, batch):
    fixed = strength if SUITES.get(suite).compiled_for_each_strength else None
    return np.asarray(program(suite, line, fixed)(batch, float(strength)))


def batch_of(*indices, hw=HW):
    images = sample_images(4, hw).astype(jnp.uint8)
    return dict(image=images[jnp.array(indices)], index=jnp.array(indices))


@pytest.mark.parametrize(("suite", "line"), LINES)
def test_line_keeps_shape_and_range_and_changes_the_image(suite, line):
    batch = batch_of(0, 1)
    found = changed(suite, line, SUITES.get(suite).lines[line][-1], batch=batch)
    assert found.shape == batch["image"].shape
    assert found.dtype in (np.uint8, np.float32)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 255
    assert np.abs(found - np.asarray(batch["image"], float)).mean((1, 2, 3)).min() > 0.3


@pytest.mark.parametrize(("suite", "line"), LINES)
def test_neutral_strength_leaves_the_image(suite, line):
    batch = batch_of(0, 1)
    found = changed(suite, line, SUITES.get(suite).neutral, batch=batch)
    np.testing.assert_array_equal(found, batch["image"])


@pytest.mark.parametrize(("suite", "line"), LINES)
def test_image_is_changed_alike_in_every_batch(suite, line):
    strength = SUITES.get(suite).lines[line][-1]
    # At another place of a batch, next to another; of as many, which is one program.
    one, other = (
        changed(suite, line, strength, batch=batch_of(*chosen)).astype(float)
        for chosen in ((0, 2), (2, 3))
    )
    # Another order of sums may move a value across the middle of two levels.
    assert (np.abs(one[1] - other[0]) > 0.01).mean() < 0.002


@pytest.mark.parametrize(("suite", "line"), PADDED)
def test_padding_stays(suite, line):
    kind = SUITES.get(suite)
    content = jnp.array([[5, 0, 27, 44]])
    batch = batch_of(1) | dict(content_yxyx_px=content)
    found = changed(suite, line, kind.lines[line][-1], batch=batch)[0]
    image = np.asarray(batch["image"][0])
    np.testing.assert_array_equal(found[:5], image[:5])
    np.testing.assert_array_equal(found[27:], image[27:])
    assert (found[5:27] != image[5:27]).mean() > 0.3


@pytest.mark.parametrize(("suite", "line"), LINES)
def test_strengths_are_in_order_without_the_neutral_one(suite, line):
    strengths = SUITES.get(suite).lines[line]
    assert list(strengths) == sorted(set(strengths))
    assert SUITES.get(suite).neutral not in strengths


@pytest.mark.parametrize(("suite", "line"), GRAY)
def test_hidden_share_is_that_asked_for_and_grows(suite, line):
    batch = batch_of(0, 1) | dict(image=jnp.full((2, *HW, 3), 7, jnp.uint8))
    before = np.zeros((2, *HW), bool)
    for strength in SUITES.get(suite).lines[line]:
        hidden = (changed(suite, line, strength, batch=batch) == 128).all(-1)
        expected = round(strength * CELLS**2) / CELLS**2 if line != "bars" else strength
        atol = 1e-6 if line != "bars" else 7 / 44
        np.testing.assert_allclose(hidden.mean((1, 2)), expected, atol=atol)
        assert hidden[before].all()
        before = hidden


def test_random_squares_are_squares_and_differ_between_images():
    batch = batch_of(0, 1) | dict(image=jnp.full((2, *HW, 3), 7, jnp.uint8))
    hidden = changed("occlusion", "random_squares", 0.5, batch=batch)[..., 0] == 128
    squares = hidden.reshape(2, 11, 3, 11, 4).mean((2, 4))
    assert set(np.unique(squares)) == {0.0, 1.0}
    assert (squares[0] != squares[1]).mean() > 0.2


def test_salient_squares_are_those_of_the_largest_gradient():
    batch = batch_of(0)
    weight = np.zeros((1, *HW, 3), np.float32)
    weight[0, 6:9, 8:12] = -5.0  # square (2, 2)
    weight[0, 30, 43] = 9.0  # one px of square (10, 10)
    draw = Draw("salient_squares", 2 / CELLS**2, jax.random.key(0))

    @jax.jit
    def image_of(batch):
        kind = SUITES.get("occlusion")()
        return kind.change(batch, draw, loss_gradient=lambda image: weight)["image"]

    hidden = (np.asarray(image_of(batch))[0] == 128).all(-1)
    squares = hidden.reshape(11, 3, 11, 4).all((1, 3))
    assert np.argwhere(squares).tolist() == [[2, 2], [10, 10]]


@pytest.mark.parametrize("side", [32, 64, 224, 256, 384, 512])
@pytest.mark.parametrize("patch", [8, 14, 16, 32])
def test_no_square_of_the_occlusion_ends_where_a_patch_does(side, patch):
    ends = side * np.arange(1, CELLS) / CELLS
    assert (ends % patch != 0).all()


def test_noise_has_the_deviation_of_its_strength():
    batch = dict(image=jnp.full((1, 96, 96, 3), 127, jnp.uint8), index=jnp.array([0]))
    for strength in (8.0, 32.0):
        found = changed("noise", "gaussian", strength, batch=batch)
        assert found.std() == pytest.approx(strength, rel=0.03)
        assert found.mean() == pytest.approx(127, abs=0.5)


@pytest.mark.parametrize("strength", [0.25, 0.75])
def test_resolution_is_that_of_pil(strength):
    batch = batch_of(0)
    found = changed("resolution", "down_and_up", strength, batch=batch)[0]
    small = tuple(round(n * strength) for n in HW)[::-1]
    picture = Image.fromarray(np.asarray(batch["image"][0]))
    picture = picture.resize(small, Image.Resampling.BILINEAR)
    expected = np.asarray(picture.resize(HW[::-1], Image.Resampling.BILINEAR), float)
    # PIL rounds in between.
    assert np.abs(found - expected).max() <= 2
    assert np.abs(found - expected).mean() < 0.4


def test_shuffled_squares_are_the_squares_in_another_order():
    batch = batch_of(0, 1)
    found = changed("patch_shuffle", "patch_shuffle", 4, batch=batch)
    np.testing.assert_array_equal(found[:, 32:], batch["image"][:, 32:])

    def squares(images):
        cut = np.asarray(images)[:, :32].reshape(2, 4, 8, 4, 11, 3).swapaxes(2, 3)
        return [[part.tobytes() for part in row] for row in cut.reshape(2, 16, -1)]

    orders = []
    for before, after in zip(squares(batch["image"]), squares(found), strict=True):
        assert sorted(before) == sorted(after)
        orders.append([before.index(part) for part in after])
    assert orders[0] != orders[1]
    assert sum(i != order for i, order in enumerate(orders[0])) > 8


def test_suite_that_does_not_suit_the_task_is_refused_or_left_out():
    with pytest.raises(UserError, match="'patch_shuffle' is for classification, and"):
        passes_of(["patch_shuffle"], task="detection")
    suites = {each.suite for each in passes_of((), task="detection")}
    assert suites == {"clean", *SUITES.names()} - {"patch_shuffle"}
    assert {each.suite for each in passes_of((), task="classification")} >= suites


def test_suites_are_chosen_by_name_and_corruptions_alone_by_theirs():
    passes = passes_of(["scale", "corruptions"], task="detection", corruptions=["fog"])
    assert passes[:2] == [CLEAN, Pass("scale", "scale", 0.5)]
    assert passes[-1] == Pass("corruptions", "fog", 5)
    assert len(passes_of((), task="detection", severities=[1])) == 1 + 19
    with pytest.raises(UserError, match="--suites=noise leaves out"):
        passes_of(["noise"], task="detection", severities=[1])


def test_suite_of_the_documentation_is_one():
    text = (ROOT / "docs/robustness.md").read_text().split("## Add a suite")[1]
    code = text.split("```python\n")[1].split("```")[0]
    suites = Registry("suite", package="hybrid_jax.robustness.suites")
    exec(code, dict(SUITES=suites, ImageSuite=ImageSuite))
    suite, batch = suites.get("blackout"), batch_of(0, 1)
    for strength in (suite.neutral, *suite.lines["blackout"]):
        draw = Draw("blackout", strength, jax.random.key(0))
        found = suite().change(batch, draw, loss_gradient=None)["image"]
        expected = np.round(np.asarray(batch["image"], np.float32) * (1 - strength))
        np.testing.assert_allclose(found, expected, atol=1)
