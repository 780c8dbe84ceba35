"""Every file in `configs/`: documented, frozen in a golden dump, and a model that runs."""

import os
import pathlib
import re

import experiments
import jax
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.config import changed, resolve, to_json
from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import build_model, part_specs
from hybrid_jax.ops.normalize_image import POLICIES
from hybrid_jax.tasks import TASKS

GOLDENS = pathlib.Path(__file__).parent / "goldens"
ARGUMENTS = (
    "",
    "imagenet2012",
    "cifar10",
    "folder=/data/birds",
    "imagenet2012,size=384,steps=7",
    "size=384x640",
)
_LABELED = ("imagenet2012", "cifar10", "folder")


@pytest.fixture(params=experiments.NAMES)
def name(request):
    return request.param


def config_of(name, argument=""):
    return experiments.load(name).get_config(argument)


def without_equal_blocks(config):
    """Keeps one block of each stage and two of a ViT: the others take what these give.

    A ViT whose blocks a head or a fusion counts keeps all of them.
    """
    resnet, vit = part_specs(config.model)
    options = f"{config.model.head_options} {config.model.fusion_options}"
    counted = "taps" in options or "num_interactions" in options
    blocks = {
        "model.resnet_options.blocks": (1,) * len(resnet.blocks),
        "model.vit_options.depth": vit.depth if counted else min(vit.depth, 2),
    }
    return changed(config, blocks)


def test_docstring_states_command_hardware_time_and_result(name):
    lines = (experiments.load(name).__doc__ or "").splitlines()
    for word in ("Command:", "Hardware:", "Time:", "Result:"):
        values = [
            line.removeprefix(word).strip() for line in lines if line.startswith(word)
        ]
        assert len(values) == 1, f"{word} stands {len(values)} times in configs/{name}.py"
        assert values[0], f"{word} is empty in configs/{name}.py"


def test_command_of_the_docstring_names_the_file(name):
    assert f"--config=configs/{name}.py" in experiments.load(name).__doc__


def test_config_equals_its_golden_dump(name):
    path = GOLDENS / f"{name}.txt"
    dump = to_json(config_of(name)) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(dump)
    golden = path.read_text() if path.exists() else ""
    changed = sorted(set(dump.splitlines()) ^ set(golden.splitlines()))
    assert dump == golden, (
        f"configs/{name}.py now gives another tree than {path.name}: {changed[:6]}. If "
        f"this is meant: UPDATE_GOLDEN=1 python -m pytest tests/configs, and commit."
    )


def test_every_golden_dump_has_its_config():
    assert {path.stem for path in GOLDENS.glob("*.txt")} == set(experiments.NAMES)


@pytest.mark.parametrize("on_cpu", [True, False], ids=["cpu", "accelerator"])
def test_model_runs_at_the_size_it_is_trained_at(name, on_cpu):
    config = without_equal_blocks(resolve(config_of(name), on_cpu=on_cpu))
    if on_cpu and config.task.name != "classification":
        pytest.skip(f"{name} sets its own size, whatever the hardware")
    H, W = config.data.image_size
    dtype = jax.numpy.dtype(config.model.dtype)

    def run(images):
        model = build_model(
            config.model, num_classes=7, image_size=(H, W), rngs=nnx.Rngs(params=0)
        )
        return model(images, train=True, key=jax.random.key(0))

    outputs = jax.eval_shape(run, jax.ShapeDtypeStruct((2, H, W, 3), dtype))
    answers = [leaf for leaf in jax.tree.leaves(outputs) if leaf.shape[-1:] == (7,)]
    assert answers, "nothing has a column for each class"
    for leaf in answers:
        assert leaf.shape[0] == 2
        assert leaf.dtype == np.float32


def test_names_in_the_config_are_registered(name):
    config = config_of(name)
    assert config.task.name in TASKS.names()
    assert config.model.normalization in POLICIES


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_argument_gives_a_config_that_resolves(name, argument):
    if name == "tiny" and argument not in ("", "cifar10", "folder=/data/birds"):
        pytest.skip("tiny is for small images")
    if config_of(name).task.name != "classification" and argument.startswith(_LABELED):
        pytest.skip(f"{name} is for boxes or masks, {argument} has labels alone")
    config = resolve(config_of(name, argument), on_cpu=False, num_train_examples=1_281_167)
    assert config.train.steps >= 1
    assert config.train.batch_size >= 1
    expected = {
        "imagenet2012": "tfds:imagenet2012",
        "cifar10": "tfds:cifar10",
        "folder=/data/birds": "folder:/data/birds",
        "imagenet2012,size=384,steps=7": "tfds:imagenet2012",
    }
    if argument in expected:
        assert config.data.name == expected[argument]
    if "steps=7" in argument:
        assert config.train.steps == 7
        assert config.train.epochs is None
        assert tuple(config.data.image_size) == (384, 384)
    if argument == "size=384x640":
        assert tuple(config.data.image_size) == (384, 640)


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [("imagnet2012", "imagenet2012"), ("cifar10,stesp=7", "steps"), ("siz=64", "size")],
)
def test_typo_in_an_argument_names_the_nearest(name, argument, nearest):
    with pytest.raises(UserError, match=re.escape(f"Did you mean '{nearest}'?")) as error:
        config_of(name, argument)
    assert "\n" not in str(error.value)


def test_two_calls_give_independent_trees(name):
    module = experiments.load(name)
    first = module.get_config()
    first.train.ema_decay = 0.123
    assert module.get_config().train.ema_decay != 0.123
