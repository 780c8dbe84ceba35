"""Measures of maps and positions against numbers, and which token a head is read at."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from small_hybrid import IMAGE_HW, hybrid

from hybrid_jax.explaining.from_seen import SeenModel
from hybrid_jax.explaining.methods.level_energy import level_energy
from hybrid_jax.explaining.methods.position_similarity import position_similarity


def test_energy_is_the_root_mean_square_of_a_cell():
    maps = {16: jnp.full((1, 1, 1, 4), 3.0), 8: jnp.zeros((1, 2, 2, 2)).at[0, 1, 0].set(2)}
    maps[8] = maps[8].at[0, 1, 0, 1].set(4.0)
    found = level_energy(maps)
    assert list(found) == [8, 16]  # fine to coarse
    np.testing.assert_allclose(found[16], [[[3.0]]], rtol=1e-6)
    expected = [[[0.0, 0.0], [np.sqrt((4 + 16) / 2), 0.0]]]
    np.testing.assert_allclose(found[8], expected, rtol=1e-6)


def test_similarity_of_positions_is_a_cosine():
    positions = np.array([[[3.0, 0.0], [1.0, 1.0]], [[0.0, 2.0], [-5.0, 0.0]]])
    found = np.asarray(position_similarity(jnp.asarray(positions)))
    np.testing.assert_allclose(found[0, 0].ravel(), [1, np.sqrt(0.5), 0, -1], atol=1e-6)
    np.testing.assert_allclose(found, found.transpose(2, 3, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("task", "reads_cls", "expected"),
    [
        ("classification", True, True),
        ("classification", False, False),
        ("segmentation", True, False),  # its head reads maps: the class token is untrained
    ],
)
def test_class_token_is_read_where_a_head_reads_it(monkeypatch, task, reads_cls, expected):
    model = hybrid("vit", vit=dict(depth=1))
    monkeypatch.setattr(type(model.head), "task", task)
    seen = types.SimpleNamespace(blocks=(), reads_cls=reads_cls)
    assert SeenModel(model, seen, image_hw=IMAGE_HW)._has_cls == expected
