"""Bilinear sampling against torch and against loops in float64."""

import jax
import numpy as np
import pytest

from hybrid_jax.models.decoders.pyramid_pooling import adaptive_mean
from hybrid_jax.ops.bilinear import centers, linear_weights, sample, upsample_align_corners


def example(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@jax.jit
def sampled(x, rows, columns):
    h, w = x.shape[1:3]
    return sample(x, linear_weights(rows, h), linear_weights(columns, w))


def at(x, row, column):
    """Reads a map (h, w, C) between its cells, one position at a time."""
    h, w, _ = x.shape
    row, column = min(max(row, 0.0), h - 1.0), min(max(column, 0.0), w - 1.0)
    i, j = int(row), int(column)
    below, right = min(i + 1, h - 1), min(j + 1, w - 1)
    v, u = row - i, column - j
    upper = (1 - u) * x[i, j] + u * x[i, right]
    return (1 - v) * upper + v * ((1 - u) * x[below, j] + u * x[below, right])


def test_positions_anywhere_equal_loops_each_image_its_own():
    x = example(2, 5, 7, 3)
    rows = np.random.default_rng(1).uniform(-2.0, 7.0, (2, 6)).astype(np.float32)
    columns = np.random.default_rng(2).uniform(-2.0, 9.0, (2, 4)).astype(np.float32)
    ours = np.asarray(sampled(x, rows, columns))
    for b, i, j in np.ndindex(2, 6, 4):
        wanted = at(x[b].astype(np.float64), rows[b, i], columns[b, j])
        np.testing.assert_allclose(ours[b, i, j], wanted, atol=1e-5)


def test_centers_enlarge_as_torch_does_by_the_whole_stride():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = example(2, 3, 5, 4)
    ours = sampled(x, centers(9, stride=3), centers(15, stride=3))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(0, 3, 1, 2), scale_factor=3, mode="bilinear"
    )
    np.testing.assert_allclose(ours, wanted.permute(0, 2, 3, 1), atol=1e-6)


@pytest.mark.parametrize(("hw", "factor"), [((1, 4), 2), ((3, 5), 3)])
def test_enlarging_by_corners_is_torchs(hw, factor):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = example(2, *hw, 3)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(0, 3, 1, 2),
        scale_factor=factor,
        mode="bilinear",
        align_corners=True,
    )
    ours = jax.jit(upsample_align_corners, static_argnames="factor")(x, factor=factor)
    np.testing.assert_allclose(ours, wanted.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize(("hw", "bins"), [((6, 12), 3), ((7, 5), 6), ((2, 1), 3)])
def test_adaptive_mean_is_torchs(hw, bins):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = example(2, *hw, 3)
    wanted = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(x).permute(0, 3, 1, 2), bins
    )
    ours = jax.jit(adaptive_mean, static_argnames="bins")(x, bins=bins)
    np.testing.assert_allclose(ours, wanted.permute(0, 2, 3, 1), atol=1e-6)
