"""The tree: checks that name the key, what fills `None`, and no key that nobody reads."""

import pathlib
import re

import pytest
from ml_collections import ConfigDict

import hybrid_jax
from hybrid_jax.config import check, defaults, resolve, to_json
from hybrid_jax.errors import UserError

PACKAGE = pathlib.Path(hybrid_jax.__file__).parent


def set_key(config, path, value):
    *branches, leaf = path.split(".")
    node = config
    for name in branches:
        node = node[name]
    with config.ignore_type():
        node[leaf] = value


def leaves(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


# --- the tree ---------------------------------------------------------------------------


def test_unknown_model_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown model 'r26_vitb16'.*'r26_vit_b16'"):
        defaults("r26_vitb16")


def test_reading_an_unknown_key_says_did_you_mean():
    with pytest.raises(AttributeError, match='Did you mean "learning_rate"'):
        _ = defaults().optimizer.learning_rat


def test_writing_an_unknown_key_says_did_you_mean():
    with pytest.raises((AttributeError, KeyError), match='Did you mean "batch_size"'):
        defaults().train.batchsize = 7


def test_defaults_are_fresh_each_time():
    defaults().optimizer.branch.vit = 0.0
    assert defaults().optimizer.branch.vit == 1.0


def test_every_branch_of_the_design_is_there():
    branches = {name for name, value in defaults().items() if isinstance(value, ConfigDict)}
    assert branches >= {
        "model", "task", "data", "train", "optimizer", "mesh", "checkpoint", "log", "eval"
    }  # fmt: skip


def source_of(*, without=()):
    paths = [p for p in PACKAGE.rglob("*.py") if p.name not in without]
    return "\n".join(path.read_text() for path in paths)


# Read by iterating over their branch, not by name.
ITERATED = ("optimizer.branch.", "mesh.", "hardware.", "model.fusion_options.")


def test_every_key_is_read_by_someone():
    # These set keys; reading is everybody else's.
    text = source_of(without=("config.py", "config/keys.py", "recipes.py"))
    unread = [
        path
        for path in leaves(defaults("tiny"))
        if not path.startswith(ITERATED)
        and not re.search(rf"""(\.|["']){path.rsplit(".", 1)[-1]}\b""", text)
    ]
    assert not unread, f"keys that nothing reads: {unread}"


def test_iterated_branches_are_read_too():
    text = source_of()
    for branch in ITERATED:
        name = branch.strip(".").rsplit(".", 1)[-1]
        assert re.search(rf"""(\.|["']){name}\b""", text), branch


def test_no_default_is_repeated_at_the_place_it_is_read():
    branches = "|".join(defaults().keys())
    again = re.findall(rf"\b(?:config|{branches})\.get\([^)]*\)", source_of())
    assert not again, f"defaults stand in config/keys.py alone: {again}"


def test_each_default_stands_once_in_its_branch():
    text = (PACKAGE / "config/keys.py").read_text()
    builders = re.findall(r"def _\w+\(\).*?\n\n\n", text, re.S)
    assert len(builders) >= 8
    for builder in builders:
        keys = re.findall(r"^        (\w+)=", builder, re.M)
        assert len(keys) == len(set(keys)), f"a key stands twice: {keys}"


def test_json_is_sorted_and_has_one_key_a_line():
    lines = to_json(defaults()).splitlines()
    top = [line.split('"')[1] for line in lines if re.match(r'  "', line)]
    assert top == sorted(top)
    assert len(lines) > len(list(leaves(defaults())))


# --- resolve ----------------------------------------------------------------------------


def test_resolve_leaves_its_argument_alone():
    config = defaults("tiny")
    before = to_json(config)
    resolve(config, on_cpu=True)
    assert to_json(config) == before


@pytest.mark.parametrize(("on_cpu", "kind"), [(True, "cpu"), (False, "accelerator")])
def test_hardware_fills_what_is_none(on_cpu, kind):
    config = defaults("tiny")
    config.hardware[kind].update(batch_size=24, image_size=48, steps=77)
    config = resolve(config, on_cpu=on_cpu)
    assert config.train.batch_size == config.eval.batch_size == 24
    assert tuple(config.data.image_size) == (48, 48)
    assert config.train.steps == 77
    assert config.model.dtype == ("float32" if on_cpu else "bfloat16")


def test_what_is_set_stays():
    config = defaults("tiny")
    config.update(
        dict(
            train=dict(batch_size=6, steps=5),
            eval=dict(batch_size=10),
            model=dict(dtype="float32"),
        )
    )
    set_key(config, "data.image_size", (40, 72))
    config = resolve(config, on_cpu=False)
    assert (config.train.batch_size, config.train.steps) == (6, 5)
    assert config.eval.batch_size == 10
    assert tuple(config.data.image_size) == (40, 72)
    assert config.model.dtype == "float32"


@pytest.mark.parametrize(
    ("epochs", "examples", "steps"), [(3.0, 100, 18), (0.5, 100, 3), (0.01, 100, 1)]
)
def test_epochs_become_steps(epochs, examples, steps):
    config = defaults("tiny")
    config.train.update(epochs=epochs, batch_size=16)
    resolved = resolve(config, on_cpu=True, num_train_examples=examples)
    assert resolved.train.steps == steps


def test_steps_speak_before_epochs():
    config = defaults("tiny")
    config.train.update(epochs=3.0, steps=5, batch_size=16)
    assert resolve(config, on_cpu=True, num_train_examples=100).train.steps == 5


# --- checks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("optimizer.name", "adam", "one of adamw, sgd, lamb"),
        ("optimizer.schedule", "step", "one of cosine, linear, rsqrt, constant"),
        ("task.loss", "focal", "one of softmax, sigmoid"),
        ("model.dtype", "float16", "one of auto, float32, bfloat16"),
        ("model.normalization", "none", "one of half, imagenet"),
        ("data.crop", "center", "one of resize, random_resized, pad, letterbox"),
        ("data.eval_fit", "crop", "one of letterbox, resize"),
        ("data.on_bad_annotation", "ignore", "one of raise, skip"),
        ("data.max_boxes", 0, "a positive number"),
        ("data.scale_jitter", (2.0, 0.5), "a pair 0 < lower <= upper"),
        ("task.segmentation.inference", "tile", "one of whole, slide"),
        ("task.segmentation.slide_stride", 0.0, "a positive number"),
        ("task.segmentation.auxiliary_weight", -0.1, "zero or more"),
        ("task.detection.max_detections", 0, "a positive number"),
        ("task.detection.center_radius", 0.0, "a positive number"),
        ("task.detection.giou_weight", -1.0, "zero or more"),
        ("task.detection.nms_iou", 1.5, r"a number in \[0, 1\]"),
        ("data.interpolation", "nearest", "one of bicubic, bilinear"),
        ("data.on_bad_image", "ignore", "one of raise, skip"),
        ("eval.restore", "first", "one of best, last"),
        ("train.steps", 0, "a positive number"),
        ("train.epochs", -1.0, "a positive number"),
        ("train.batch_size", 0, "a positive number"),
        ("checkpoint.every", 0, "a positive number"),
        ("log.every", -5, "a positive number"),
        ("eval.every", 0, "a positive number"),
        ("profile.steps", "15:10", "'' or 'FIRST:LAST', such as '10:15'"),
        ("profile.steps", "0:3", "'' or 'FIRST:LAST', such as '10:15'"),
        ("profile.steps", "12", "'' or 'FIRST:LAST', such as '10:15'"),
        ("optimizer.learning_rate", -1e-3, "zero or more"),
        ("optimizer.clip_norm", -1.0, "zero or more"),
        ("task.mixup", -0.1, "zero or more"),
        ("task.flip", 1.01, r"a number in \[0, 1\]"),
        ("task.label_smoothing", -0.1, r"a number in \[0, 1\]"),
        ("optimizer.warmup_fraction", 2.0, r"a number in \[0, 1\]"),
        ("train.ema_decay", 1.0, r"a decay in \[0, 1\)"),
        ("data.crop_area", (0.5, 0.1), "a pair 0 < lower <= upper"),
        ("data.crop_ratio", (0.0, 1.0), "a pair 0 < lower <= upper"),
        ("data.eval_crop", 0.0, r"a share in \(0, 1\]"),
        ("data.scale_jitter", 0.5, "a pair 0 < lower <= upper"),
        ("data.crop_area", (0.5,), "a pair 0 < lower <= upper"),
        ("data.crop_area", (0.2, 0.5, 1.0), "a pair 0 < lower <= upper"),
        ("data.crop_ratio", "0.5,1", "a pair 0 < lower <= upper"),
        ("data.crop_ratio", ("a", "b"), "a pair 0 < lower <= upper"),
        ("data.crop_ratio", None, "a pair 0 < lower <= upper"),
        ("data.pad_px", "4", "zero or more"),
        ("task.segmentation.scales", 1.0, "one or more factors above 0"),
        ("task.segmentation.scales", (), "one or more factors above 0"),
        ("task.segmentation.canvas", 48.0, r"a pair \(height, width\) in px"),
        ("task.segmentation.canvas", (48,), r"a pair \(height, width\) in px"),
    ],
)
def test_value_out_of_range_names_key_expectation_and_value(path, value, expected):
    config = defaults("tiny")
    set_key(config, path, value)
    with pytest.raises(UserError) as error:
        resolve(config, on_cpu=True)
    message = str(error.value)
    assert re.search(rf"^config\.{path}: expected {expected}", message), message
    assert repr(value) in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_pair_may_be_a_tuple_or_a_list(kind):
    config = defaults("tiny")
    for path in ("data.crop_area", "data.crop_ratio", "data.scale_jitter"):
        set_key(config, path, kind((0.5, 1.0)))
    set_key(config, "data.image_size", kind((40, 72)))
    set_key(config, "task.segmentation.canvas", kind((80, 144)))
    data = resolve(config, on_cpu=True).data
    assert tuple(data.image_size) == (40, 72)
    assert tuple(data.crop_area) == (0.5, 1.0)


def test_accumulate_must_divide_the_batch():
    config = defaults("tiny")
    config.train.update(batch_size=10, accumulate=4)
    with pytest.raises(UserError, match="divisor of train.batch_size 10, got 4"):
        resolve(config, on_cpu=True)


@pytest.mark.parametrize(
    "size", [0, -3, 64.0, (64,), (64, 32, 3), (64, 0), (64.0, 32.0), "64"]
)
def test_image_size_must_be_a_side_or_a_pair(size):
    config = defaults("tiny")
    set_key(config, "data.image_size", size)
    with pytest.raises(UserError, match=r"config.data.image_size: expected a positive"):
        resolve(config, on_cpu=True)


def test_evaluation_may_have_a_size_of_its_own():
    config = defaults("tiny")
    assert resolve(config, on_cpu=True).eval.image_size is None
    set_key(config, "eval.image_size", 48)
    assert resolve(config, on_cpu=True).eval.image_size == (48, 48)
    set_key(config, "eval.image_size", (48, 0))
    with pytest.raises(UserError, match=r"config.eval.image_size: expected a positive"):
        resolve(config, on_cpu=True)


def test_defaults_pass_their_own_checks():
    check(defaults())
