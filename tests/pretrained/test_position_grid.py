"""Grids of position tables that are not square: told, guessed, or asked for."""

import dataclasses
import json

import numpy as np
import pytest
from donors import PLAIN, donor

import hybrid_jax
from hybrid_jax.config import changed, defaults, resolve
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.position_grid import grid_of_table
from hybrid_jax.pretrained.weights import open_weights

WIDE = dataclasses.replace(PLAIN, grid=(2, 5))  # 32x80 px
NINE_BY_FOUR = dataclasses.replace(PLAIN, grid=(9, 4))  # as many cells as 6x6


def beside(path, **content):
    (path.parent / "config.json").write_text(json.dumps(content))


def grid_of(path, **options):
    model, _ = hybrid_jax.load_pretrained(path, **options)
    return model.backbone.vit.position.shape[:2]


@pytest.mark.parametrize(
    "content",
    [
        dict(image_size=[32, 80]),  # transformers
        dict(pretrained_cfg=dict(input_size=[3, 32, 80])),  # timm
        dict(model_args=dict(img_size=[32, 80]), pretrained_cfg=dict(input_size=[3, 9, 9])),
    ],
)
def test_config_beside_the_file_tells(tmp_path, content):
    path, held = donor(tmp_path, WIDE)
    beside(path, **content)
    assert grid_of(path) == (2, 5)
    model, _ = hybrid_jax.load_pretrained(path)
    wanted = held["backbone/vit/position"]
    np.testing.assert_array_equal(model.backbone.vit.position[...], wanted)


def test_config_beside_the_file_decides_between_two_grids(tmp_path):
    path, held = donor(tmp_path, NINE_BY_FOUR)
    beside(path, image_size=[144, 64])
    assert grid_of(path) == (9, 4)
    beside(path, image_size=96)
    assert grid_of(path) == (6, 6)
    assert grid_of(path, grid=(9, 4)) == (9, 4)


def test_shape_of_the_images_tells(tmp_path):
    path, held = donor(tmp_path, WIDE)
    model, _ = hybrid_jax.load_pretrained(path, image_size=(64, 160))
    assert model.backbone.vit.position.shape[:2] == (4, 10)
    with pytest.raises(UserError, match=r"square grid .* got 10 .*grid="):
        hybrid_jax.load_pretrained(path, image_size=(64, 128))


def test_two_grids_that_are_as_likely_are_asked_about(tmp_path):
    path, _ = donor(tmp_path, NINE_BY_FOUR)
    assert grid_of(path) == (6, 6)
    with pytest.raises(UserError, match=r"grid of 6x6, or one of 9x4.*_options.grid="):
        hybrid_jax.load_pretrained(path, image_size=(288, 128))
    assert grid_of(path, image_size=(288, 128), grid=(6, 6)) == (18, 8)


def test_config_of_a_run_gives_the_grid(tmp_path):
    path, _ = donor(tmp_path, WIDE)
    config = defaults()
    config.model.pretrained = str(path)
    with pytest.raises(UserError, match=r'pretrained_options.grid="\(rows,columns\)"'):
        open_weights(config.model)
    (file, _), *_ = open_weights(config.model, image_size=(64, 160)).files
    assert file.architecture.grid == (2, 5)
    config = changed(config, {"model.pretrained_options.grid": (5, 2)})
    (file, _), *_ = open_weights(config.model, image_size=(64, 160)).files
    assert file.architecture.grid == (5, 2)
    for wrong in ((5,), (0, 2), "5x2"):
        with config.model.pretrained_options.ignore_type():
            config.model.pretrained_options.grid = wrong
        with pytest.raises(UserError, match=r"options.grid: expected a pair"):
            resolve(config, on_cpu=True, num_train_examples=1)


@pytest.mark.parametrize(
    ("counts", "hints", "grid"),
    [
        ([196, 197], {}, (14, 14)),
        ([195, 196], {}, (14, 14)),  # no row for the class token
        ([280, 281], dict(file_hw=(224, 320)), (14, 20)),
        ([279, 280], dict(file_hw=(224, 320)), (14, 20)),
        ([280], dict(image_hw=(448, 640)), (14, 20)),
        ([196], dict(file_hw=(224, 320)), (14, 14)),  # tuned at another size since
        ([1], {}, (1, 1)),
    ],
)
def test_first_count_that_fits_is_taken(counts, hints, grid):
    assert grid_of_table(counts, Hints(**hints), where="x") == grid
