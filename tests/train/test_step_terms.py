"""A loss of several terms, divided by something else than rows, through the step."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from toy_task import ONE_BLOCK, TOY, reference_loss, registered
from train_examples import (
    host_batch,
    new_state,
    on_host,
    put,
    run_steps,
    small_experiment,
    train_step,
)

from hybrid_jax.contracts import Mean
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.tasks.classification.task import Classification
from hybrid_jax.train.state import merge_model

SGD = {"optimizer.name": "sgd", "train.batch_size": 32}
DRAWN = ONE_BLOCK | {
    "optimizer.name": "sgd",  # Adam makes much of the last bit of a small gradient
    "optimizer.learning_rate": 0.1,
    "train.accumulate": 2,
    "task.mixup": 0.4,
    "model.vit_options.dropout": 0.3,
}
TERMS = ("loss", "loss_near", "loss_far")


class Named(Classification):
    """Classification that names two terms of its loss."""

    def loss(self, outputs, batch):
        loss = super().loss(outputs, batch)
        halves = dict(left=loss.total * 0.25, right=loss.total * 0.75)
        return Mean(loss.total, loss.count, halves)


@pytest.fixture(autouse=True)
def with_toys():
    with registered():
        yield


def test_scalars_are_the_global_means_of_every_term():
    experiment = small_experiment(TOY | SGD)
    batch = host_batch(size=32, real=19)
    state = new_state(experiment)

    @jax.jit
    def logits(state, image):
        model = merge_model(experiment.graph, state.params, state.mutable)
        return model(normalize_image(image, policy="half"), train=True).logits

    expected = reference_loss(logits(state, batch["image"]), batch)
    _, scalars = train_step(experiment)(state, put(experiment, batch))
    assert {name for name in scalars if name.startswith("loss")} == set(TERMS)
    assert {scalars[name].dtype.name for name in TERMS} == {"float32"}
    for name in TERMS:
        assert float(scalars[name]) == pytest.approx(expected[name], rel=1e-5), name
    # Of 32 rows, of the real ones, or of every device's own count, it would be another.
    per_row = expected["loss"] * (batch["label"][:19] + 1).sum() / 19
    assert abs(per_row / expected["loss"] - 1) > 0.1


@functools.cache
def whole(real):
    batch = functools.partial(host_batch, size=32, real=real)
    state, scalars = run_steps(small_experiment(TOY | SGD), 2, batch=batch)
    return on_host(state.params), scalars


@pytest.mark.parametrize("real", [32, 19, 0])
def test_micro_batches_add_up_to_the_whole_batch(real):
    params, expected = whole(real)
    experiment = small_experiment(TOY | SGD | {"train.accumulate": 4})
    batch = functools.partial(host_batch, size=32, real=real)
    state, scalars = run_steps(experiment, 2, batch=batch)
    for found, one in zip(scalars, expected, strict=True):
        assert found == pytest.approx(one, rel=1e-5, abs=1e-6)
        assert (found["loss"] > 0.0) == (real > 0)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        on_host(state.params),
        params,
    )


@functools.cache
def with_named_terms():
    experiment = small_experiment(DRAWN, mesh="single")
    task = Named(experiment.task.task, experiment.task.info)
    return dataclasses.replace(experiment, task=task)


def test_naming_terms_changes_nothing_else_of_a_step():
    state, expected = run_steps(small_experiment(DRAWN, mesh="single"), 2)
    same, scalars = run_steps(with_named_terms(), 2)
    # Two programs may add up in two orders.
    for found, one in zip(scalars, expected, strict=True):
        assert found.pop("loss_left") * 3 == pytest.approx(found.pop("loss_right"))
        assert found == pytest.approx(one, rel=1e-6)
    close = functools.partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(close, on_host(same.params), on_host(state.params))
