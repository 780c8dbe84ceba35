"""What is for labels of whole images is refused by the tasks that would ignore it."""

import pytest

from hybrid_jax.config import defaults
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.errors import UserError
from hybrid_jax.tasks import TASKS

INFO = DatasetInfo(
    num_classes=2, box_names=("cat",), segmentation_names=("sky",), largest_hw=(40, 50)
)
OPTIONS = dict(mixup=0.2, cutmix=1.0, erase=0.25, label_smoothing=0.1, loss="sigmoid")


def construct(name, **options):
    branch = defaults().task
    branch.update(options)
    return TASKS.get(name)(branch, INFO)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["detection", "segmentation"])
def test_option_of_labels_is_refused_by_its_key(name, option):
    off, value = defaults().task[option], OPTIONS[option]
    with pytest.raises(UserError) as error:
        construct(name, **{option: value})
    assert str(error.value) == (
        f"config.task.{option}: expected {off!r} for task {name!r}, because only "
        f"classification supports it, got {value!r}. Set it to {off!r}."
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_classification_takes_it(option):
    assert construct("classification", **{option: OPTIONS[option]})
