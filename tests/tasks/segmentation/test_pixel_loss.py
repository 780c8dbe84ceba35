"""Cross-entropy of pixels against float64 loops; what strips may not change."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybrid_jax.contracts import VOID
from hybrid_jax.tasks.segmentation.pixel_loss import pixel_cross_entropy, pixel_hits
from hybrid_jax.tasks.segmentation.row_strips import map_strips, strip_count

K = 5


@functools.partial(jax.jit, static_argnames=("stride", "largest_strip"))
def measured(logits, labels, *, stride, largest_strip=None):
    """Returns (loss, its gradient, hits)."""
    options = dict(stride=stride, largest_strip=largest_strip)
    loss, gradient = jax.value_and_grad(pixel_cross_entropy)(logits, labels, **options)
    return loss, gradient, pixel_hits(logits, labels, **options)


def example(*, hw, stride, rows=2, seed=0):
    rng = np.random.default_rng(seed)
    cells = tuple(-(-side // stride) for side in hw)
    logits = 2.0 * rng.standard_normal((rows, *cells, K)).astype(np.float32)
    labels = rng.integers(0, K, (rows, *hw)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.3] = VOID
    return logits, labels


def enlarged(logits, hw, stride):
    """Enlarges in float64, one axis after the other, with the edges repeated."""
    x = logits.astype(np.float64)
    for axis, size in ((1, hw[0]), (2, hw[1])):
        at = np.clip((np.arange(size) + 0.5) / stride - 0.5, 0, x.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        shape = [1] * 4
        shape[axis] = size
        share = (at - low).reshape(shape)
        x = (1 - share) * np.take(x, low, axis) + share * np.take(x, high, axis)
    return x


@pytest.mark.parametrize(("hw", "stride"), [((9, 14), 4), ((6, 5), 1), ((17, 16), 8)])
def test_sums_equal_the_float64_ones(hw, stride):
    logits, labels = example(hw=hw, stride=stride)
    scores, real = enlarged(logits, hw, stride), labels != VOID
    losses = -special.log_softmax(scores[real], axis=-1)
    wanted = losses[np.arange(len(losses)), labels[real]].sum()
    loss, _, hits = measured(logits, labels, stride=stride)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    assert hits == (scores[real].argmax(-1) == labels[real]).sum()


def test_strips_change_neither_sums_nor_gradient():
    logits, labels = example(hw=(11, 14), stride=4)
    whole = measured(logits, labels, stride=4)
    # Three rows at a time: the last strip has one row that is not there.
    cut = measured(logits, labels, stride=4, largest_strip=3 * 14 * K)
    np.testing.assert_allclose(cut[0], whole[0], rtol=1e-6)
    np.testing.assert_allclose(cut[1], whole[1], atol=1e-5)
    assert cut[2] == whole[2]


def test_gradient_at_batch_64_is_finite_and_nan_of_void_images_stays_out():
    logits, labels = example(hw=(10, 7), stride=4, rows=64)
    labels[::3] = VOID
    real = np.arange(64) % 3 != 0
    loss, gradient, hits = measured(logits, labels, stride=4, largest_strip=3 * 7 * K)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~real] == 0.0).all()
    logits[~real] = np.nan
    again = measured(logits, labels, stride=4, largest_strip=3 * 7 * K)
    assert (again[0], again[2]) == (loss, hits)
    np.testing.assert_array_equal(np.asarray(again[1])[real], np.asarray(gradient)[real])
    # So large that an exponential alone would overflow.
    _, gradient, _ = measured(
        1e4 * logits[real][:2], labels[real][:2], stride=4, largest_strip=3 * 7 * K
    )
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("largest_strip", [None, 3 * 14 * K])
def test_logits_of_every_pixel_are_not_enlarged(largest_strip):
    logits, labels = example(hw=(11, 14), stride=1)
    options = dict(stride=1, largest_strip=largest_strip)
    loss, gradient, hits = measured(logits, labels, **options)
    # A row more of the logits, as of a head with whole cells, takes the other way.
    past = np.concatenate([logits, np.zeros((2, 1, 14, K), np.float32)], axis=1)
    wanted = measured(past, labels, **options)
    np.testing.assert_allclose(loss, wanted[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, wanted[1][:, :11], atol=1e-6)
    assert hits == wanted[2]
    programs = [
        str(jax.make_jaxpr(lambda x: measured(x, labels, **options))(x))
        for x in (logits, past)
    ]
    assert ["dot_general" in program for program in programs] == [False, True]


@pytest.mark.parametrize(
    ("rows", "largest", "count"), [(10, 100, 1), (10, 50, 2), (10, 39, 4), (7, 1, 7)]
)
def test_strips_are_as_many_as_needed(rows, largest, count):
    assert strip_count(rows, per_row=10, largest=largest) == count


@pytest.mark.parametrize("count", [1, 2, 3])
def test_strips_hold_every_row_once(count):
    a, b = jnp.arange(14.0).reshape(2, 7), jnp.arange(7)
    one, other = map_strips(
        lambda a, b: (a, b), (a, b), axes=(1, 0), count=count, fills=(0.0, -1)
    )
    np.testing.assert_array_equal(jnp.moveaxis(one, 0, 1).reshape(2, -1)[:, :7], a)
    np.testing.assert_array_equal(other.reshape(-1)[:7], b)
    assert (other.reshape(-1)[7:] == -1).all()
