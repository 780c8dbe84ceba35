"""What holds for every corruption: shapes, ranges, draws, and severities that grow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sample_images import sample_images

from hybrid_jax.errors import UserError
from hybrid_jax.robustness.corruptions import CORRUPTIONS, corrupt
from hybrid_jax.robustness.corruptions.levels import _LEVELS, SEVERITIES, table_side

HW = (24, 40)
# The levels of the published scripts do not grow in mean difference for these: one of
# them takes color away first and adds it later, the others change two things in turn.
NOT_MONOTONE = {"saturate", "spatter", "elastic_transform", "frost_procedural"}


@functools.cache
def program(name):
    return jax.jit(functools.partial(corrupt, name=name, severity=3))


@functools.cache
def corrupted(name, *, chosen=(0, 1, 2), seed=0):
    """Returns some of four images, corrupted in one batch of that order."""
    index = np.array(chosen)
    images = sample_images(4, HW)[index]
    return np.asarray(program(name)(images, jax.random.key(seed), index=index))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_keeps_shape_type_and_range_and_changes_the_image(name):
    found = corrupted(name)
    images = np.asarray(sample_images(4, HW)[:3])
    assert found.shape == images.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0.0
    assert found.max() <= 255.0
    assert np.abs(found - images).mean((1, 2, 3)).min() > 0.3


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_image_is_corrupted_alike_in_every_batch(name):
    # At another place of a batch, next to others; of as many, which is one program.
    elsewhere = corrupted(name, chosen=(2, 3, 3))
    # Another order of sums may move a value across a threshold.
    differs = np.abs(corrupted(name)[2] - elsewhere[0]) > 0.01
    assert differs.mean() < 0.002


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_only_random_corruptions_depend_on_the_key(name):
    again = corrupted(name, seed=1)
    nothing_random = CORRUPTIONS[name].likeness == "exact" or name == "jpeg_compression"
    same = np.abs(again - corrupted(name)).max() <= 1.0
    assert same == nothing_random


# Of the five levels by default only the ends: each is traced and compiled.
@pytest.mark.parametrize(
    "every", [4, pytest.param(2, marks=pytest.mark.slow)], ids=["ends", "middle"]
)
@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - NOT_MONOTONE))
def test_severity_moves_images_further_from_clean(name, every):
    # The published levels for 224 px, at which the blurs are not a pixel wide.
    images = sample_images(3, (64, 64))
    function, levels = CORRUPTIONS[name].function, _LEVELS[name][224]

    @jax.jit
    def distances_of(images):
        def distance(level):
            one = functools.partial(function, level=level)
            found = jax.vmap(one, (0, None))(images, jax.random.key(0))
            return jnp.abs(found - images).mean()

        return [distance(level) for level in levels[::every]]

    distances = [float(distance) for distance in distances_of(images)]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_size_has_a_level_for_each_severity(name):
    assert list(_LEVELS[name]) == [32, 64, 224]
    assert all(len(levels) == len(SEVERITIES) for levels in _LEVELS[name].values())


def test_two_images_of_a_batch_have_draws_of_their_own():
    images = jnp.full((2, 8, 8, 3), 128.0)
    step = functools.partial(corrupt, name="gaussian_noise", severity=1)
    first, second = step(images, jax.random.key(0), index=jnp.arange(2))
    assert not np.array_equal(first, second)
    first, second = step(images, jax.random.key(0), index=jnp.array([5, 5]))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("hw", "side"), [((16, 16), 32), ((45, 300), 32), ((64, 64), 64), ((224, 224), 224)]
)
def test_levels_are_those_of_the_nearest_published_size(hw, side):
    assert table_side(hw) == side


@pytest.mark.parametrize(("name", "severity"), [("fogg", 1), ("fog", 0), ("fog", 6)])
def test_unknown_corruption_or_severity_is_refused(name, severity):
    with pytest.raises(UserError, match="Did you mean 'fog'|expected 1, 2, 3, 4 or 5"):
        corrupt(
            sample_images(1, HW),
            jax.random.key(0),
            name=name,
            severity=severity,
            index=jnp.arange(1),
        )
