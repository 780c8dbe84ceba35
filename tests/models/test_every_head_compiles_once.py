"""The training step of every head is compiled once, whatever its second state is like."""

import jax
import numpy as np
import pytest
from task_batches import INFO, batch_for

from hybrid_jax.config import defaults
from hybrid_jax.models.heads import HEADS
from hybrid_jax.train.experiment import prepare

HW = (32, 48)


class Nothing:
    """A split of which no example is read."""

    info = INFO

    def __len__(self):
        return 2


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS.names())
def test_second_step_runs_the_first_program(head):
    config = defaults("tiny")
    config.model.update(fusion="vit", head=head)
    config.model.vit_options.update(width=32, depth=4, num_heads=2, mlp_dim=32)
    config.task.name = HEADS.get(head).task
    with config.ignore_type():
        config.data.image_size = HW
    config.train.update(steps=10, batch_size=2)
    experiment = prepare(config, source=Nothing(), devices=jax.devices()[:1])
    batch = batch_for(experiment.task.targets, hw=HW)
    batch["image"] = np.zeros((2, *HW, 3), np.uint8)
    step, state = experiment.jitted_train_step(), experiment.new_state()
    for _ in range(2):
        state, _ = step(state, batch)
    assert step._cache_size() == 1
