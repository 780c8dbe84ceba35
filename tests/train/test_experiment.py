"""What `prepare` decides and refuses before anything is compiled."""

import re
import sys

import pytest
from etils import epath
from small_run import small_config
from toy_task import TOY, registered

from hybrid_jax.errors import UserError
from hybrid_jax.models.heads import HEADS
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.reporting.announce import announce


@pytest.fixture(autouse=True)
def with_toys():
    with registered():
        yield


@pytest.mark.parametrize(("task", "score"), [("classification", "top1"), ("toy", "seen")])
def test_auto_means_the_main_score_of_the_task(task, score):
    changes = TOY if task == "toy" else {}
    assert prepare(small_config(changes)).config.checkpoint.best_metric == score


@pytest.mark.parametrize("left", [(), ("image_size", "steps")])
def test_start_says_which_sizes_the_hardware_gave(left, capsys):
    keys = {"image_size": "data.image_size", "steps": "train.steps"}
    changes = {"train.steps": 6} | {keys[name]: None for name in left}
    experiment = prepare(small_config(changes))
    assert experiment.left_to_hardware == left
    announce(experiment, epath.Path("runs/here"))
    told = capsys.readouterr().out
    assert ("image_size, steps: as config.hardware.cpu says" in told) == bool(left)
    assert ("config.hardware" in told) == bool(left)


@pytest.mark.parametrize("metric", ["", "loss"])
def test_a_score_that_is_named_stays(metric):
    config = prepare(small_config({"checkpoint.best_metric": metric})).config
    assert config.checkpoint.best_metric == metric


@pytest.mark.parametrize(("task", "head"), [("toy", "linear"), ("classification", "toy")])
def test_head_of_another_task_is_refused_with_those_that_fit(task, head):
    with pytest.raises(UserError) as error:
        prepare(small_config({"task.name": task, "model.head": head}))
    fitting = [name for name in HEADS.names() if HEADS.get(name).task == task]
    assert fitting
    assert head not in fitting
    other = HEADS.get(head).task
    assert str(error.value) == (
        f"config.model.head: {head!r} is for task {other!r}, config.task.name is "
        f"{task!r}. Heads for it: {', '.join(fitting)}."
    )


def test_unknown_head_and_task_are_one_line_with_the_nearest():
    for key, value, known in [
        ("model.head", "linaer", "linear"),
        ("task.name", "clasification", "classification"),
    ]:
        with pytest.raises(UserError, match=re.escape(f"Did you mean '{known}'?")):
            prepare(small_config({key: value}))


def test_classes_are_those_the_task_counts():
    # `digits` has ten labels; the toy task answers with three numbers whatever the data.
    shapes = prepare(small_config(TOY)).shapes
    assert shapes.params["head"]["logits"]["bias"].shape == (3,)


def test_library_of_a_kernel_is_missed_at_the_start_and_not_on_a_cpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokamax", None)
    config = small_config({"model.attention": "tokamax"})
    assert prepare(config).config.model.attention == "tokamax"
    for platform in ("gpu", "tpu"):
        with pytest.raises(UserError, match=r"config.model.attention.*\[tokamax\]"):
            prepare(config, platform=platform)
