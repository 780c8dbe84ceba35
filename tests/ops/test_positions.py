"""Resizing of learned grids against scipy and loops; fixed tables; rotations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from hybrid_jax.ops import positions
from hybrid_jax.ops.positions import rope2d, rotate, sincos2d

# One program each, not one for each operation.
resize_grid = jax.jit(positions.resize_grid, static_argnums=1, static_argnames="method")
sample_grid = jax.jit(positions.sample_grid, static_argnums=1, static_argnames="extent")
SHAPES = [((7, 7), (12, 12)), ((5, 8), (9, 6)), ((6, 4), (3, 11)), ((4, 5), (1, 7))]
METHODS = ["corner_linear", "bilinear", "bicubic_aa"]


def grid_of(hw, dim=3):
    return np.random.default_rng(0).standard_normal((*hw, dim)).astype(np.float32)


def matrix_of(kernel, support, old, new, *, antialias):
    """Returns the (new, old) weights of separable half-pixel sampling, loop by loop."""
    scale = max(old / new, 1.0) if antialias else 1.0
    weights = np.zeros((new, old))
    for i in range(new):
        center = (i + 0.5) * old / new - 0.5
        for j in range(old):
            distance = abs(j - center) / scale
            weights[i, j] = kernel(distance) if distance < support else 0.0
        weights[i] /= weights[i].sum()  # what falls outside is shared by what is inside
    return weights


def triangle(distance):
    return 1.0 - distance


def keys_cubic(distance, a=-0.5):
    """Keys (1981), the kernel of Pillow and of torch's antialiased bicubic."""
    d = distance
    if d < 1.0:
        return (a + 2.0) * d**3 - (a + 3.0) * d**2 + 1.0
    return a * d**3 - 5.0 * a * d**2 + 8.0 * a * d - 4.0 * a


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_corner_linear_equals_scipy_zoom(old, new):
    grid = grid_of(old)
    zoom = (new[0] / old[0], new[1] / old[1], 1)
    expected = scipy.ndimage.zoom(grid.astype(np.float64), zoom, order=1)
    ours = resize_grid(jnp.asarray(grid), new, method="corner_linear")
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_bilinear_samples_cell_centers_without_antialiasing(old, new):
    grid = grid_of(old)
    expected = np.zeros((*new, 3))
    for i in range(new[0]):
        for j in range(new[1]):
            # torch's align_corners=False: clamp, then blend the four neighbors.
            y, x = (
                np.clip((k + 0.5) * o / n - 0.5, 0, o - 1)
                for k, o, n in zip((i, j), old, new, strict=True)
            )
            top, left = min(int(y), old[0] - 2), min(int(x), old[1] - 2)
            dy, dx = y - top, x - left
            square = grid[top : top + 2, left : left + 2].astype(np.float64)
            rows = (1 - dy) * square[0] + dy * square[1]
            expected[i, j] = (1 - dx) * rows[0] + dx * rows[1]
    ours = resize_grid(jnp.asarray(grid), new, method="bilinear")
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_bicubic_aa_equals_keys_kernel_stretched_when_shrinking(old, new):
    grid = grid_of(old)
    rows, columns = (
        matrix_of(keys_cubic, 2.0, o, n, antialias=True)
        for o, n in zip(old, new, strict=True)
    )
    expected = np.einsum("Hh,hwD,Ww->HWD", rows, grid, columns)
    ours = resize_grid(jnp.asarray(grid), new, method="bicubic_aa")
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_the_three_methods_differ():
    results = [
        np.asarray(resize_grid(jnp.asarray(grid_of((5, 8))), (9, 6), method=method))
        for method in METHODS
    ]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(results[a] - results[b]).max() > 0.05


@pytest.mark.parametrize("method", METHODS)
def test_same_grid_is_returned_as_it_is(method):
    grid = jnp.asarray(grid_of((5, 8)))
    assert positions.resize_grid(grid, (5, 8), method=method) is grid


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_constant_grid_stays_constant(method, old, new):
    grid = np.full((*old, 3), 1.25, np.float32)
    out = resize_grid(grid, new, method=method)
    np.testing.assert_allclose(out, 1.25, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_dtype_of_the_grid_is_kept(method):
    grid = jnp.asarray(grid_of((5, 8)), jnp.bfloat16)
    assert resize_grid(grid, (9, 6), method=method).dtype == jnp.bfloat16


def test_corner_linear_keeps_the_corners():
    grid = grid_of((5, 8))
    out = resize_grid(jnp.asarray(grid), (9, 6), method="corner_linear")
    np.testing.assert_allclose(np.asarray(out)[::8, ::5], grid[::4, ::7], atol=1e-6)


def test_samples_of_a_ramp_are_the_places_asked_for():
    """Cells of twelve pixels over a grid of five by eight cells of twenty."""
    grid = np.stack(np.mgrid[:5, :8] + 0.5, -1) * 20.0
    # Nine rows reach past the grid's 100 px, eleven columns end before its 160.
    ours = sample_grid(jnp.asarray(grid, jnp.float32), (9, 11), extent=(100 / 12, 160 / 12))
    expected = np.stack(np.mgrid[:9, :11] + 0.5, -1) * 12.0
    expected = np.clip(expected, 10.0, (90.0, 150.0))  # the outermost centers
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_samples_over_the_same_extent_are_the_bilinear_resize(old, new):
    grid = jnp.asarray(grid_of(old))
    expected = resize_grid(grid, new, method="bilinear")
    np.testing.assert_allclose(sample_grid(grid, new, extent=new), expected, atol=1e-6)


def test_samples_at_its_own_centers_are_the_grid():
    grid = jnp.asarray(grid_of((5, 8)), jnp.bfloat16)
    assert positions.sample_grid(grid, (5, 8), extent=(5.0, 8.0)) is grid
    assert sample_grid(grid, (3, 4), extent=(2.5, 4.0)).dtype == jnp.bfloat16


def test_sincos_equals_moco_formula():
    h, w, dim = 3, 5, 12
    expected = np.zeros((h, w, dim))
    for i in range(h):
        for j in range(w):
            for k in range(3):
                omega = 1.0 / 10_000.0 ** (k / 2)
                expected[i, j, [k, 3 + k]] = np.sin(j * omega), np.cos(j * omega)
                expected[i, j, [6 + k, 9 + k]] = np.sin(i * omega), np.cos(i * omega)
    np.testing.assert_allclose(sincos2d((h, w), dim), expected, atol=1e-6)


def logits_of_rope(hw, head_dim=8):
    """Returns (h, w, h, w): one query and one key, placed at every cell."""
    rng = np.random.default_rng(0)
    query, key = rng.standard_normal((2, head_dim)).astype(np.float32)
    N = hw[0] * hw[1]
    tables = rope2d(hw, head_dim)
    placed = [
        np.asarray(rotate(np.broadcast_to(x, (1, N, 1, head_dim)), *tables))[0, :, 0]
        for x in (query, key)
    ]
    return (placed[0] @ placed[1].T).reshape(*hw, *hw)


def test_rope_logits_depend_on_the_offset_alone():
    h, w = 4, 6
    logits = logits_of_rope((h, w))
    for di in range(h):
        for dj in range(w):
            same = logits[di:, dj:][:, :, : h - di, : w - dj]
            values = np.einsum("ijij->ij", same)
            np.testing.assert_allclose(values, values[0, 0], atol=1e-5)


def test_rope_logits_differ_between_offsets():
    logits = logits_of_rope((4, 6))[0, 0]
    gaps = np.abs(logits.ravel()[:, None] - logits.ravel())[~np.eye(24, dtype=bool)]
    assert gaps.min() > 1e-5


def test_rope_spans_the_same_angles_on_a_finer_grid():
    # Coarse cell (i, j) is centered on the corner of four fine cells: angles average.
    coarse = np.unwrap(np.arctan2(*rope2d((1, 2), 4)[::-1]), axis=0)
    fine = np.unwrap(np.arctan2(*rope2d((1, 4), 4)[::-1]), axis=0)
    np.testing.assert_allclose(fine.reshape(2, 2, 4).mean(1)[:, 0], coarse[:, 0], atol=1e-5)


def test_rope_over_an_extent_is_of_places_in_it():
    # Three rows over a side of 2.5: centers at 0.2, 0.6 and 1.0 of it.
    cosines, sines = rope2d((3, 2), 4, extent=(2.5, 4.0))
    rows = 2.0 * np.pi * np.repeat([-0.6, 0.2, 1.0], 2)
    columns = 2.0 * np.pi * np.tile([-0.75, -0.25], 3)
    angles = np.stack([rows, columns, rows, columns], -1)
    np.testing.assert_allclose(cosines, np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(sines, np.sin(angles), atol=1e-6)
    for ours, plain in zip(
        rope2d((3, 2), 8, extent=(3.0, 2.0)), rope2d((3, 2), 8), strict=True
    ):
        np.testing.assert_array_equal(ours, plain)


def test_rotation_keeps_lengths_and_dtype():
    x = np.random.default_rng(1).standard_normal((2, 15, 3, 8)).astype(np.float32)
    y = rotate(jnp.asarray(x), *rope2d((3, 5), 8))
    np.testing.assert_allclose(
        np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5
    )
    half = rotate(jnp.asarray(x, jnp.bfloat16), *rope2d((3, 5), 8))
    assert half.dtype == jnp.bfloat16


def test_rotation_leaves_prefix_tokens_alone():
    x = np.random.default_rng(1).standard_normal((2, 17, 3, 8)).astype(np.float32)
    y = np.asarray(rotate(jnp.asarray(x), *rope2d((3, 5), 8)))
    np.testing.assert_array_equal(y[:, :2], x[:, :2])
    assert np.abs(y[:, 2:] - x[:, 2:]).max() > 0.1
