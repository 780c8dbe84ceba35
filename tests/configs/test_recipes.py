"""What stands after the colon of --config: data, keys, options of the fusion."""

import re

import experiments
import pytest

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import keys_given, select, side
from hybrid_jax.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"), [("384", 384), ("384x640", (384, 640)), ("32x8", (32, 8))]
)
def test_side_reads(text, value):
    assert side(text) == value


def test_keys_given_are_not_those_in_brackets():
    words = "coco=(/data/a,steps=3),batch=8,fusion.strides=(8,16)"
    assert keys_given(words) == {"coco", "batch", "fusion.strides"}
    assert keys_given("") == set()


@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("lr=0.5", "optimizer.learning_rate", 0.5),
        ("batch=48", "train.batch_size", 48),
        ("seed=9", "seed", 9),
        ("epochs=2.5", "train.epochs", 2.5),
        ("fusion=vit", "model.fusion", "vit"),
        ("digits,size=32", "data.image_size", 32),
        ("shapes128", "data.image_size", 128),
        ("mnist=/data/m", "data.name", "mnist:/data/m"),
        ("tfds=oxford_iiit_pet", "data.name", "tfds:oxford_iiit_pet"),
        ("tfds:oxford_iiit_pet", "data.name", "tfds:oxford_iiit_pet"),
        ("folder:/data/b=c", "data.name", "folder:/data/b=c"),
    ],
)
def test_argument_sets_its_key(argument, path, value):
    node = select(defaults("tiny"), argument)
    for name in path.split("."):
        node = node[name]
    assert node == value


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("digits,size=big", "cannot read 'big' as side"),
        ("steps=", "cannot read '' as int"),
        ("folder", "expected folder=<path or name>"),
        ("digits,digits", "unknown key 'digits'"),
    ],
)
def test_argument_that_cannot_be_read_is_quoted(argument, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        select(defaults("tiny"), argument)
    assert "\n" not in str(error.value)


def test_last_of_steps_and_epochs_counts():
    config = select(defaults("tiny"), "epochs=3,steps=7")
    assert (config.train.steps, config.train.epochs) == (7, None)
    config = select(defaults("tiny"), "steps=7,epochs=3")
    assert (config.train.steps, config.train.epochs) == (None, 3.0)


def test_recipe_of_the_experiment_comes_after_the_usual_one():
    own = {"imagenet2012": {"task.mixup": 0.7, "train.epochs": 9.0}}
    config = select(defaults("tiny"), "imagenet2012", **own)
    assert config.task.mixup == 0.7
    assert config.train.epochs == 9.0
    assert select(defaults("tiny"), "imagenet2012").task.mixup == 0.2


def test_another_fusion_by_argument_needs_no_other_key():
    config = select(defaults("tiny"), "fusion=vit")
    assert config.model.fusion == "vit"


def test_argument_sets_options_of_the_chosen_fusion_whatever_the_order():
    config = select(defaults("tiny"), "fusion.merge=gated,digits,fusion.strides=3,fusion=x")
    assert config.model.fusion_options.x.to_dict() == dict(merge="gated", strides=3)
    assert config.model.fusion_options.sequential.stride == 16
    config = select(defaults("tiny"), "fusion.stride=8")
    assert config.model.fusion_options.sequential.stride == 8


@pytest.mark.parametrize(
    ("text", "value"),
    [("(16,32)", (16, 32)), ("[8,16,32]", [8, 16, 32]), ("(16,)", (16,)), ("()", ())],
)
def test_commas_in_brackets_belong_to_the_value(text, value):
    argument = f"digits,fusion.strides={text},fusion=fpn_tokens,seed=9"
    config = select(defaults("tiny"), argument)
    assert config.model.fusion_options.fpn_tokens.to_dict() == dict(strides=value)
    assert (config.data.name, config.seed) == ("digits", 9)


def test_lone_bracket_holds_nothing_together():
    config = select(defaults("tiny"), "folder=/data/a(b,seed=9,,batch=48")
    assert config.data.name == "folder:/data/a(b"
    assert (config.seed, config.train.batch_size) == (9, 48)


def test_fusion_option_without_a_value_is_refused():
    with pytest.raises(UserError, match=r"'fusion.stride': expected fusion.OPTION=VALUE"):
        select(defaults("tiny"), "fusion.stride")


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("coco=(/d/{split},/d/{split}.json),seed=9", "coco:/d/{split},/d/{split}.json"),
        ("coco:(/d/images,/d/a=b.json),seed=9", "coco:/d/images,/d/a=b.json"),
        ("coco:/d/images,/d/a.json,seed=9", "coco:/d/images,/d/a.json"),
        ("coco=/d/images,/d/a.json,seed=9", "coco:/d/images,/d/a.json"),
        ("seg=(/d/images,/d/masks),seed=9", "seg:/d/images,/d/masks"),
        ("voc=/d/VOC2012,seed=9", "voc:/d/VOC2012"),
        ("voc_seg:/d/VOC2012,seed=9", "voc_seg:/d/VOC2012"),
        ("tfds=coco/2017:1.1.0,seed=9", "tfds:coco/2017:1.1.0"),
    ],
)
def test_data_with_boxes_or_masks(argument, name):
    config = select(defaults("tiny"), argument)
    assert (config.data.name, config.seed) == (name, 9)
    assert config.data.crop == "scale_jitter"  # what moves targets with the image


def test_experiment_sets_keys_for_such_data_by_its_kind():
    own = {"coco": {"data.crop": "letterbox"}, "coco/2017": {"data.crop": "resize"}}
    crops = [
        select(defaults("tiny"), argument, **own).data.crop
        for argument in ("coco=(/i,/j.json)", "tfds=coco/2017", "voc=/v")
    ]
    assert crops == ["letterbox", "resize", "scale_jitter"]


def test_argument_sets_the_head_and_its_options():
    config = select(
        defaults("tiny"), "head.strides=(8,16),voc=/v,head=fcos,head.neck=none,fusion=x"
    )
    assert (config.model.head, config.model.fusion) == ("fcos", "x")
    assert config.model.head_options.fcos.to_dict() == dict(strides=(8, 16), neck="none")
    assert "x" not in config.model.fusion_options


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("head.strides", "'head.strides': expected head.OPTION=VALUE"),
        ("coco", "expected coco=<path or name>, e.g. coco=(/data/images,"),
        ("seg=", "expected seg=<path or name>"),
        ("cocoo", "unknown data. Known: digits"),
        ("own:npy=/data", "A source of your own is named by --config.data.name=KIND:L"),
    ],
)
def test_boxes_or_masks_that_cannot_be_found_are_quoted(argument, message):
    with pytest.raises(UserError, match=re.escape(message)):
        select(defaults("tiny"), argument)


def test_default_is_the_data_of_an_argument_that_names_none():
    recipe = {"data.max_boxes": 7}
    for argument in ("", "fusion=resnet", "lr=0.5,fusion.stride=8"):
        options = dict(default="voc=/data/v", voc=recipe)
        config = select(defaults("tiny"), argument, **options)
        assert (config.data.name, config.data.max_boxes) == ("voc:/data/v", 7)
    config = select(defaults("tiny"), "coco=/a,/b", **options)
    assert config.data.name == "coco:/a,/b"
    assert config.data.max_boxes == defaults("tiny").data.max_boxes


@pytest.mark.parametrize(
    ("name", "argument", "path"),
    [
        ("shapes_detection", "voc=/data/v", "data.max_boxes"),
        ("shapes_segmentation", "seg=/a,/b", "data.image_size"),
        ("ade20k_dpt_hybrid", "voc_seg=/data/v", "data.reduce_zero_label"),
        ("ade20k_r26_vit_s_fpn", "voc_seg=/data/v", "data.reduce_zero_label"),
    ],
)
def test_other_data_gets_nothing_of_a_recipe(name, argument, path):
    def value(config):
        return config.data[path.removeprefix("data.")]

    get_config = experiments.load(name).get_config
    assert value(get_config(argument)) == value(defaults("tiny"))
    assert value(get_config("")) != value(defaults("tiny"))
