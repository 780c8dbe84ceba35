"""What a file of tests describes or traces once is never that of another config."""

from types import SimpleNamespace

import pytest
import small_experiment
from few_devices import runs_on

from hybrid_jax.config import changed
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.robustness.changed_batch import BatchChanger
from hybrid_jax.robustness.suites import SUITES
from hybrid_jax.tasks import TASKS
from hybrid_jax.train.experiment import prepare


def described(**changes):
    """Returns what was described of the small experiment with some keys changed."""
    keys = {name.replace("__", "."): value for name, value in changes.items()}
    return prepare(changed(small_experiment.get_config(), keys)).init


def test_one_config_is_described_once():
    assert described() is described(seed=1)


@pytest.mark.parametrize(
    "changes",
    [
        dict(model__vit_options__depth=1),
        dict(model__resnet_options__norm="batch"),
        dict(data__image_size=24),
        dict(data__name="shapes"),
        dict(optimizer__name="sgd"),
        dict(optimizer__branch__vit=0.0),
        dict(train__steps=7),
        dict(train__ema_decay=0.9),
    ],
)
def test_another_config_is_described_anew(changes):
    assert described(**changes) is not described()


@pytest.mark.parametrize(
    ("registry", "name"),
    [(FUSIONS, "sequential"), (HEADS, "linear"), (TASKS, "classification")],
)
def test_another_class_of_the_same_name_is_described_anew(monkeypatch, registry, name):
    before, entry = described(), registry.get(name)
    other = type("Other", (entry,), {"__module__": entry.__module__})
    monkeypatch.setattr(registry, "_entries", registry._entries | {name: other})
    assert described() is not before


def test_steps_of_one_config_are_traced_once():
    first, second = (prepare(small_experiment.get_config()) for _ in range(2))
    assert first.jitted_train_step() is second.jitted_train_step()
    assert first.jitted_eval_step() is second.jitted_eval_step()
    assert first.jitted_eval_step() is not first.jitted_train_step()


def test_steps_of_another_config_mesh_or_task_are_traced_anew(monkeypatch):
    config = small_experiment.get_config()
    step = prepare(config).jitted_eval_step()
    for changes in (dict(seed=1), {"mesh.fsdp": 2}, {"model.normalization": "imagenet"}):
        assert prepare(changed(config, changes)).jitted_eval_step() is not step
    with runs_on(1):
        assert prepare(config).jitted_eval_step() is not step
    monkeypatch.setattr(TASKS.get("classification"), "predict", lambda *args: {})
    assert prepare(config).jitted_eval_step() is not step


def test_changes_of_images_are_traced_once_for_each_line():
    experiment = prepare(small_experiment.get_config())
    state = SimpleNamespace(eval_params={}, mutable={})

    def program(line, fixed):
        suite = SUITES.get("corruptions")()
        return BatchChanger(experiment, state)._program(suite, line, fixed=fixed)

    assert program("fog", 1) is program("fog", 1)
    assert len({id(program(*each)) for each in (("fog", 1), ("fog", 2), ("snow", 1))}) == 3
