"""The transfer recipe: the same on whatever data, and the words that change it."""

import experiments
import numpy as np
import pytest

from hybrid_jax.config import resolve
from hybrid_jax.data.transforms.random_resized_crop import RandomResizedCrop
from hybrid_jax.data.transforms.sample import sample_of
from hybrid_jax.pretrained.files.published import PUBLISHED

NAMES = [name for name in experiments.NAMES if name.startswith("finetune_")]
DATA = ("", "digits", "folder=/data/birds", "cifar10", "imagenet2012", "tfds=flowers")
DATA += ("shapes", "mnist=/data/mnist")
HALVES = ("pretrained_resnet", "pretrained_vit")


def config_of(name, argument=""):
    return experiments.load(name).get_config(argument)


def test_every_published_hybrid_and_r26_vit_b16_have_one():
    models = ("r_vit_ti16", "r26_vit_s32", "r26_vit_b32", "r50_vit_b16", "r50_vit_l32")
    assert set(NAMES) == {f"finetune_{model}" for model in (*models, "r26_vit_b16")}


@pytest.mark.parametrize("argument", DATA)
@pytest.mark.parametrize("on_cpu", [False, True], ids=["accelerator", "cpu"])
def test_recipe_holds_on_all_data(argument, on_cpu):
    config = config_of("finetune_r26_vit_s32", argument)
    config = resolve(config, on_cpu=on_cpu, num_train_examples=5000)
    rule = config.optimizer
    assert (rule.name, rule.momentum, rule.moment_dtype) == ("sgd", 0.9, "bfloat16")
    assert (rule.learning_rate, rule.schedule, rule.clip_norm) == (0.03, "cosine", 1.0)
    assert (rule.weight_decay, rule.freeze, rule.layer_decay) == (0.0, "", 1.0)
    assert rule.warmup_fraction > 0.0
    assert config.model.pretrained_options.head == "new"
    assert (config.model.vit_options.dropout, config.model.vit_options.drop_path) == (0, 0)
    assert (config.task.mixup, config.task.cutmix, config.task.erase) == (0, 0, 0)
    assert config.data.randaugment_layers == 0
    assert config.data.image_size == ((128, 128) if on_cpu else (384, 384))
    prescribed = argument in ("cifar10", "imagenet2012")
    assert config.train.batch_size == (16 if on_cpu and not prescribed else 512)
    steps = {"cifar10": 10_000, "imagenet2012": 20_000}.get(argument)
    if argument in ("", "digits"):
        steps = 160 if on_cpu else 500
    assert config.train.steps == (steps or 20 * 5000 // config.train.batch_size)
    photographs = argument not in ("", "digits", "shapes", "mnist=/data/mnist")
    assert config.data.crop == ("random_resized" if photographs else "resize")


def test_crop_is_384_of_448_px():
    data = config_of("finetune_r26_vit_s32", "folder=/data/birds").data
    rows, columns = np.mgrid[:448, :448]
    image = np.stack([rows // 2, columns // 2, 0 * rows], axis=-1).astype(np.uint8)
    corners = set()
    crop_at_random = RandomResizedCrop(
        (384, 384),
        area=tuple(data.crop_area),
        ratio=tuple(data.crop_ratio),
        interpolation=data.interpolation,
    )
    whole = sample_of(dict(image=image), ())
    for seed in range(50):
        crop = crop_at_random(whole, np.random.default_rng(seed)).image.astype(int)
        spans = [2 * np.ptp(crop[..., channel]) for channel in (0, 1)]
        np.testing.assert_allclose(spans, 384, atol=5)  # brightness counts px in twos
        corners.add((crop[0, 0, 0], crop[0, 0, 1]))
    assert len(corners) > 40


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_published_ones(name):
    model = config_of(name).model
    keys = ("pretrained", *HALVES)
    named = {key: model[key].removeprefix("hf://") for key in keys if model[key]}
    assert named.keys() in ({"pretrained"}, set(HALVES))
    known = {*PUBLISHED.values(), "timm/vit_base_patch32_224.augreg_in21k"}
    assert set(named.values()) <= known


@pytest.mark.parametrize("name", NAMES)
def test_other_weights_take_the_place_of_all(name):
    model = config_of(name, "folder=/data/birds,pretrained=/data/some.npz").model
    assert model.pretrained == "/data/some.npz"
    assert [model[key] for key in HALVES] == ["", ""]


def test_words_set_what_is_trained():
    config = config_of(
        "finetune_r50_vit_b16",
        "folder=/data/birds,freeze=^backbone/(resnet|vit/embed)/,layer_decay=0.75,lr=0.01",
    )
    assert config.optimizer.freeze == "^backbone/(resnet|vit/embed)/"
    assert config.optimizer.layer_decay == 0.75
    assert config.optimizer.learning_rate == 0.01
    assert config.data.name == "folder:/data/birds"
