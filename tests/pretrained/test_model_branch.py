"""What of a model a file decides, and halves of another kind that it must not fill."""

import dataclasses
import pathlib

import pytest

from hybrid_jax.config import defaults
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Architecture
from hybrid_jax.pretrained.files.published_file import PublishedFile
from hybrid_jax.pretrained.model_branch import (
    check_same_kind,
    keys_of_settings,
    settings_of,
)
from hybrid_jax.specs import ResNetSpec, ViTSpec

PARTS = ("resnet", "vit")
# Every field differs from what the defaults of a config have.
RESNET = ResNetSpec(
    blocks=(1, 2),
    width=128,
    norm="batch",
    numerics="timm",
    root="deep",
    shortcut="pooled",
    output_stride=8,
    remat="dots",
    dtype="bfloat16",
)
VIT = ViTSpec(
    width=56,
    depth=3,
    num_heads=7,
    mlp_dim=100,
    patch_size=14,
    pool="attention",
    positions="sincos2d",
    position_resize="bicubic_aa",
    drop_path=0.3,
    dropout=0.2,
    layer_scale=0.01,
    num_register_tokens=5,
    gelu="erf",
    norm_eps=1e-12,
    remat="full",
    dtype="bfloat16",
)
# How a part rounds and what it is made of; sizes and training are the config's own.
ADOPTED = {
    "resnet": {"norm", "numerics", "preactivation", "root", "shortcut"},
    "vit": {
        "positions",
        "position_resize",
        "layer_scale",
        "num_register_tokens",
        "gelu",
        "norm_eps",
    },
}


def file_of(resnet=None, vit=None):
    architecture = Architecture(fusion="sequential", resnet=resnet, vit=vit)
    return PublishedFile(pathlib.Path("w.npz"), "some_dialect", architecture, {}, ())


@pytest.mark.parametrize("part", PARTS)
def test_file_decides_how_a_part_rounds_and_nothing_else(part):
    spec = {"resnet": RESNET, "vit": VIT}[part]
    settings = settings_of(file_of(RESNET, VIT), parts=(part,))
    keys = {f"model.{part}_options.{name}": name for name in ADOPTED[part]}
    assert settings == {key: getattr(spec, name) for key, name in keys.items()}
    assert set(keys_of_settings((part,))) == keys.keys()


@pytest.mark.parametrize(
    ("part", "field", "there"),
    [
        ("resnet", "norm", "batch"),
        ("resnet", "preactivation", True),
        ("resnet", "root", "deep"),
        ("resnet", "shortcut", "pooled"),
        ("vit", "positions", "sincos2d"),
        ("vit", "num_register_tokens", 4),
        ("vit", "layer_scale", 0.1),
    ],
)
def test_part_of_another_kind_is_refused(part, field, there):
    plain = {"resnet": ResNetSpec(width=64), "vit": ViTSpec()}
    model = defaults().model
    check_same_kind(model, file_of(**plain), parts=PARTS)
    file = file_of(**plain | {part: dataclasses.replace(plain[part], **{field: there})})
    with pytest.raises(UserError, match=rf"holds a {part} with {field}={there!r}"):
        check_same_kind(model, file, parts=PARTS)
    (other,) = set(PARTS) - {part}
    check_same_kind(model, file, parts=(other,))


def test_first_value_of_a_layer_scale_is_no_kind_of_it():
    model = defaults().model
    model.vit_options.layer_scale = 0.1
    check_same_kind(model, file_of(vit=ViTSpec(layer_scale=1e-5)), parts=("vit",))
