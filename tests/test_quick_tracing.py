"""Models that a file of tests describes once are never those of another config."""

import pytest
import small_experiment

from hybrid_jax.config import changed
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
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
