"""Device augmentations: what they show and what they claim must be the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.tasks.classification import mix as mixes

# One program for all draws, as in a step, instead of one for each operation.
cutmix, mixup = (
    jax.jit(function, static_argnames="alpha") for function in (mixes.cutmix, mixes.mixup)
)
erase, flip = (jax.jit(function) for function in (mixes.erase, mixes.flip))

B, H, W = 5, 12, 20


def labeled_images():
    """Image i is i + 1 everywhere, and its target is the class i."""
    number = np.arange(1, B + 1, dtype=np.float32)[:, None, None, None]
    return jnp.asarray(np.broadcast_to(number, (B, H, W, 3))), jnp.asarray(
        np.eye(B, dtype="f4")
    )


def noise(batch=B):
    return np.random.default_rng(0).standard_normal((batch, H, W, 3)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_target_is_the_share_of_pixels(seed):
    image, target = cutmix(*labeled_images(), alpha=1.0, key=jax.random.key(seed))
    for i in range(B):
        for j in range(B):
            share = np.mean(np.asarray(image[i]) == j + 1)
            np.testing.assert_allclose(target[i, j], share, atol=1e-6)


def test_cutmix_pastes_one_rectangle_in_place():
    image = noise()
    for seed in range(5):
        mixed, _ = cutmix(
            jnp.asarray(image), labeled_images()[1], alpha=1.0, key=jax.random.key(seed)
        )
        pasted = (np.asarray(mixed) != image).all(-1)
        rows, columns = pasted.any((0, 2)), pasted.any((0, 1))
        np.testing.assert_array_equal(
            pasted, np.broadcast_to(rows[:, None] & columns, pasted.shape)
        )
        assert np.abs(np.diff(rows.astype(int))).sum() <= 2, "the rows are one run"
        neighbor = np.roll(image, 1, axis=0)
        np.testing.assert_array_equal(np.asarray(mixed)[pasted], neighbor[pasted])


@pytest.mark.parametrize("seed", range(5))
def test_mixup_blends_image_and_target_by_the_same_share(seed):
    image, target = mixup(*labeled_images(), alpha=1.0, key=jax.random.key(seed))
    shown = np.asarray(target) @ np.arange(1.0, B + 1)
    np.testing.assert_allclose(
        image, np.broadcast_to(shown[:, None, None, None], image.shape), rtol=1e-5
    )
    np.testing.assert_allclose(np.asarray(target).sum(1), 1.0, rtol=1e-6)
    assert (np.count_nonzero(target, axis=1) == 2).all()


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixes_follow_the_key(mix):
    targets = [
        mix(*labeled_images(), alpha=1.0, key=jax.random.key(seed))[1] for seed in (0, 1)
    ]
    assert np.abs(np.asarray(targets[0]) - targets[1]).max() > 0.01


def test_mixup_share_is_beta_distributed():
    image, target = labeled_images()
    keys = jax.random.split(jax.random.key(0), 4000)

    @jax.jit
    @jax.vmap
    def share(key):
        return mixup(image, target, alpha=0.2, key=key)[1][0, 0]

    shares = np.asarray(share(keys))
    # Beta(0.2, 0.2): mean 1/2, variance 1/4 / 1.4. Four deviations of each estimate.
    assert abs(float(shares.mean()) - 0.5) < 4 * np.sqrt(0.1786 / 4000)
    assert abs(float(shares.var()) - 0.1786) < 0.01


def test_flip_mirrors_whole_images_left_to_right():
    image = noise(64)
    flipped = np.asarray(flip(jnp.asarray(image), rate=0.5, key=jax.random.key(0)))
    same = (flipped == image).all((1, 2, 3))
    mirrored = (flipped == image[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    # 32 of 64 expected, deviation 4; four of them.
    assert 16 <= mirrored.sum() <= 48


@pytest.mark.parametrize(("rate", "mirrored"), [(0.0, False), (1.0, True)])
def test_flip_at_the_ends_of_its_rate(rate, mirrored):
    image = noise()
    expected = image[:, :, ::-1] if mirrored else image
    np.testing.assert_array_equal(
        flip(jnp.asarray(image), rate=rate, key=jax.random.key(0)), expected
    )


@functools.cache
def erased_masks(rate=1.0):
    image = np.ones((256, 40, 60, 3), np.float32)
    return (np.asarray(erase(image, rate=rate, key=jax.random.key(0))) == 0.0).all(-1)


def test_erase_takes_one_rectangle_to_zero():
    masks = erased_masks()
    rows, columns = masks.any(2), masks.any(1)
    np.testing.assert_array_equal(masks, rows[:, :, None] & columns[:, None])
    for run in (rows, columns):
        edges = np.abs(np.diff(run.astype(int), axis=1)).sum(1)
        assert (edges <= 2).all()


def test_erased_area_keeps_its_bounds():
    areas = erased_masks().mean((1, 2))
    # A third, and half a pixel of rounding on every side.
    assert areas.max() <= (np.sqrt(1 / 3 * 2400) + 1) ** 2 * 1.1 / 2400
    assert areas.max() > 0.2
    # A center on a corner leaves a quarter of the least area.
    assert areas[areas > 0].min() >= 0.02 / 4 * 0.5


def test_erased_rectangles_differ_between_images():
    masks = erased_masks()[:8].reshape(8, -1)
    assert len({mask.tobytes() for mask in masks}) == 8


def test_erase_follows_its_rate():
    erased = erased_masks(rate=0.25).any((1, 2)).sum()
    # 64 of 256 expected, deviation 7; four of them.
    assert 36 <= erased <= 92
    assert not erased_masks(rate=0.0).any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_augmentations_keep_the_dtype_of_the_image(dtype):
    image, target = (
        jax.ShapeDtypeStruct((B, H, W, 3), dtype),
        jax.ShapeDtypeStruct((B, B), jnp.float32),
    )

    def shape_of(change, *arrays, **options):
        key = jax.random.key(0)
        return jax.eval_shape(lambda *x: change(*x, key=key, **options), *arrays)

    assert shape_of(flip, image, rate=0.5).dtype == dtype
    assert shape_of(erase, image, rate=0.5).dtype == dtype
    for mix in (mixup, cutmix):
        mixed, mixed_target = shape_of(mix, image, target, alpha=1.0)
        assert mixed.dtype == dtype
        assert mixed_target.dtype == jnp.float32
