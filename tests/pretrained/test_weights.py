"""What `model.pretrained*` and its options do to a config and to the match."""

import json

import numpy as np
import pytest
from donors import HYBRID, PLAIN, donor
from google_writer import drawn, expected, shapes

from hybrid_jax.config import changed, defaults
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.weights import open_weights

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def described(folder, model, **images):
    """Writes a random file with timm's description beside it; returns path and arrays."""
    folder.mkdir()
    images = dict(mean=[0.5] * 3, std=[0.5] * 3) | images
    (folder / "config.json").write_text(json.dumps(dict(pretrained_cfg=images)))
    return donor(folder, model)


def config_of(**named):
    config = defaults()
    for key, value in named.items():
        config.model[key] = str(value)
    return config


def targets_of(held):
    return {path: array.shape for path, array in held.items()}


def test_file_decides_about_every_key_of_its_images(tmp_path):
    images = dict(mean=MEAN, std=DEVIATION, interpolation="bilinear", crop_pct=0.8)
    path, held = described(tmp_path / "whole", PLAIN, **images)
    config = config_of(pretrained=path)
    weights = open_weights(config.model)
    config = changed(config, weights.settings(config.model))
    assert config.model.normalization == "imagenet"
    assert (config.data.interpolation, config.data.eval_crop) == ("bilinear", 0.8)
    own = config_of(pretrained=path)
    own.model.pretrained_options.preprocessing = "config"
    keys = weights.settings(own.model).keys()
    assert keys
    assert all(".vit_options." in key for key in keys)
    assert weights.match(own.model, targets_of(held))[1].preprocessing is None


def test_halves_that_want_two_normalizations_are_refused(tmp_path):
    resnet, _ = described(tmp_path / "resnet", HYBRID, mean=MEAN, std=DEVIATION)
    vit, _ = described(tmp_path / "vit", PLAIN)
    config = config_of(pretrained_resnet=resnet, pretrained_vit=vit)
    message = r"got half and imagenet.*preprocessing=config"
    with pytest.raises(UserError, match=message):
        open_weights(config.model).settings(config.model)
    config.model.pretrained_options.preprocessing = "config"
    settings = open_weights(config.model).settings(config.model)
    assert "model.normalization" not in settings


def test_head_is_kept_or_new_as_the_config_says(tmp_path):
    path, held = donor(tmp_path, PLAIN)
    config = config_of(pretrained=path)
    actions = {}
    for head in ("auto", "new"):
        config.model.pretrained_options.head = head
        _, report = open_weights(config.model).match(config.model, targets_of(held))
        actions[head] = {row.action for row in report.rows if row.part == "head"}
    assert actions == dict(auto={"loaded"}, new={"new"})


def test_hole_of_a_whole_model_is_refused_unless_the_config_allows_it(tmp_path):
    file = drawn(shapes(PLAIN))
    targets = targets_of(expected(PLAIN, file))
    del file["embedding/bias"]
    np.savez(tmp_path / "w.npz", **file)
    config = config_of(pretrained=tmp_path / "w.npz")
    message = r"model.pretrained = .*'embedding/bias', for backbone/vit/embed/bias \(48,\)"
    with pytest.raises(UserError, match=message):
        open_weights(config.model).match(config.model, targets)
    config.model.pretrained_options.strict = False
    _, report = open_weights(config.model).match(config.model, targets)
    assert [row.path for row in report.where("new")] == ["backbone/vit/embed/bias"]


def test_what_a_fusion_adds_is_a_hole_as_well(tmp_path):
    path, held = donor(tmp_path, PLAIN)
    config = config_of(pretrained=path)
    targets = targets_of(held) | {"backbone/mix/kernel": (48, 48)}
    with pytest.raises(UserError, match=r"'backbone/mix/kernel', for .*is not in it"):
        open_weights(config.model).match(config.model, targets)
