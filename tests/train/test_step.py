"""The training step: the same numbers on every mesh, whatever the micro-batches."""

import functools

import jax
import numpy as np
import pytest
from etils import epath
from toy_task import ONE_BLOCK
from train_examples import (
    MESHES,
    assert_trees_equal,
    host_batch,
    new_state,
    on_host,
    put,
    run_steps,
    small_experiment,
    train_step,
)

from hybrid_jax.data.pipeline import train_batches
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.state import merge_model

RANDOM_STEP = {
    "task.flip": 0.5,
    "task.mixup": 0.4,
    "model.vit_options.drop_path": 0.3,
    "model.vit_options.dropout": 0.1,
}


# Moves by rate times gradient. Several tests share its program.
PLAIN = {
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.0,
    "optimizer.learning_rate": 1e-5,
    "optimizer.weight_decay": 0.0,
    "optimizer.clip_norm": 0.0,
}
AVERAGED = {"model.dtype": "float32", "train.ema_decay": 0.75}

# What meshes share is tested by comparing them; the rest is tested on one device.
on_one_device = functools.partial(small_experiment, mesh="single")
# Padding, too, is spread over the devices.
padded_batch = functools.partial(host_batch, real=11)

ALL_AXES = "data2_fsdp2_tensor2"


@functools.cache
def losses_on_one_device() -> list[float]:
    _, scalars = run_steps(on_one_device(RANDOM_STEP), 3, batch=padded_batch)
    return [values["loss"] for values in scalars]


# One mesh has all three axes; that it is split along data alone, see batch norm below.
@pytest.mark.parametrize(
    "mesh",
    [
        mesh if mesh == ALL_AXES else pytest.param(mesh, marks=pytest.mark.slow)
        for mesh in MESHES
    ],
)
def test_every_mesh_gives_the_losses_of_one_device(mesh):
    experiment = small_experiment(RANDOM_STEP, mesh=mesh)
    state, scalars = run_steps(experiment, 3, batch=padded_batch)
    split = [
        leaf.addressable_shards[0].data.size < leaf.size
        for leaf in jax.tree.leaves(state.params)
    ]
    assert any(split) == (mesh != "data8")
    losses = [values["loss"] for values in scalars]
    # Sums of float32 in another order, through three steps of AdamW.
    np.testing.assert_allclose(losses, losses_on_one_device(), atol=1e-5)
    assert len(set(losses)) == 3


def test_batch_norm_statistics_are_of_the_global_batch():
    changes = {"model.fusion": "resnet", "model.resnet_options.norm": "batch"}
    changes |= {"task.flip": 0.5}
    means = []
    for mesh in ("single", "data8"):
        state, _ = run_steps(small_experiment(changes, mesh=mesh), 2)
        means.append(on_host(state.mutable))
    assert jax.tree.leaves(means[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *means)
    start = on_host(new_state(on_one_device(changes)).mutable)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), means[0], start)
    assert all(jax.tree.leaves(moved))


SGD = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.1, "train.batch_size": 32}


def test_micro_batches_add_up_to_the_whole_batch():
    # Micro-batches hold 2, 1, 1 and no real rows.
    batch = functools.partial(host_batch, size=32, real=4)
    results = []
    for parts in (1, 4):
        experiment = on_one_device(ONE_BLOCK | SGD | {"train.accumulate": parts})
        results.append(run_steps(experiment, 2, batch=batch))
    (whole, scalars), (parts, scalars_of_parts) = results
    for one, other in zip(scalars, scalars_of_parts, strict=True):
        assert other == pytest.approx(one, abs=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        on_host(whole.params),
        on_host(parts.params),
    )


def test_micro_batches_draw_their_own_random_numbers():
    changes = {"train.accumulate": 2, "model.vit_options.dropout": 0.5}
    experiment = on_one_device(ONE_BLOCK | changes)
    # Rows 2i and 2i + 1 are the same image, so both micro-batches are equal.
    batch = {name: np.repeat(x[:8], 2, axis=0) for name, x in host_batch().items()}
    losses = []
    for part in (0, 1):  # only its rows are real
        rows = batch | {"mask": np.arange(16) % 2 == part}
        state = new_state(experiment, lively=True)
        _, scalars = train_step(experiment)(state, put(experiment, rows))
        losses.append(float(scalars["loss"]))
    assert losses[0] != pytest.approx(losses[1], abs=1e-4)


def test_padded_rows_change_nothing():
    experiment = on_one_device(PLAIN)
    results = []
    for filling in (0, 255):
        batch = host_batch(real=11)
        batch["image"][11:] = filling
        batch["label"][11:] = filling % 10
        results.append(run_steps(experiment, 2, batch=lambda _, b=batch: b))
    (state, scalars), (other, same) = results
    assert_trees_equal(on_host(state.params), on_host(other.params))
    assert scalars == same


def test_loss_is_the_mean_over_real_rows():
    experiment = on_one_device(PLAIN)
    batch = host_batch(real=11)
    state = new_state(experiment, lively=True)

    @jax.jit
    def logits_of(params, mutable):
        image = normalize_image(batch["image"][:11], policy="half")
        return merge_model(experiment.graph, params, mutable)(image, train=True).logits

    logits = np.asarray(logits_of(state.params, state.mutable), np.float64)
    own = logits[np.arange(11), batch["label"][:11]]
    expected = np.mean(np.log(np.exp(logits).sum(1)) - own)
    _, scalars = train_step(experiment)(state, put(experiment, batch))
    assert float(scalars["loss"]) == pytest.approx(expected, abs=1e-5)


def test_step_compiles_once_over_first_later_and_restored_states(tmp_path):
    # What a step computes with does not matter, but what goes in and comes out.
    changes = ONE_BLOCK | {"optimizer.name": "sgd", "train.ema_decay": 0.9}
    experiment = small_experiment(changes, mesh=ALL_AXES)
    config = experiment.config
    batches = DevicePrefetch(
        train_batches(
            experiment.source,
            data=config.data,
            batch_size=config.train.batch_size,
            seed=0,
            start_step=0,
        ),
        sharding=experiment.batch_sharding,
        size=1,
    )
    step, state = experiment.jitted_train_step(), experiment.new_state()
    for _ in range(3):
        state, _ = step(state, next(batches)[0])
    checkpoints = Checkpoints(epath.Path(tmp_path), keep=1, best_metric="")
    checkpoints.save(3, state)
    checkpoints.wait()
    state = checkpoints.restore(experiment.shapes, experiment.shardings)
    for _ in range(2):
        state, _ = step(state, next(batches)[0])
    assert int(state.step) == 5
    assert step._cache_size() == 1
    checkpoints.close()
    batches.close()


def test_step_donates_the_old_state():
    experiment = on_one_device(AVERAGED)
    state = new_state(experiment)
    new, _ = train_step(experiment)(state, put(experiment, host_batch()))
    for part in (state.params, state.opt_state, state.ema):
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(part))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))


def test_ema_is_the_running_average_of_the_parameters():
    experiment = on_one_device(AVERAGED)
    step, state = train_step(experiment), new_state(experiment)
    average = on_host(state.params)
    assert_trees_equal(on_host(state.ema), average)
    for number in range(3):
        state, _ = step(state, put(experiment, host_batch(number)))
        average = jax.tree.map(
            lambda a, p: 0.75 * a + 0.25 * p, average, on_host(state.params)
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        on_host(state.ema),
        average,
    )
    assert on_one_device().shapes.ema is None


def test_scalars_hold_the_gradient_norm_of_every_branch():
    experiment = on_one_device(PLAIN)
    state = new_state(experiment, lively=True)
    before = on_host(state.params)
    state, scalars = train_step(experiment)(state, put(experiment, host_batch()))
    assert scalars.keys() == {
        "loss",
        "grad_norm",
        "grad_norm_head",
        "grad_norm_resnet",
        "grad_norm_vit",
    }
    assert {value.dtype.name for value in scalars.values()} == {"float32"}
    branches = [float(v) for name, v in scalars.items() if name.count("_") == 2]
    assert float(scalars["grad_norm"]) == pytest.approx(np.linalg.norm(branches))
    rate = experiment.config.optimizer.learning_rate
    bias = before["head"]["logits"]["bias"] - state.params["head"]["logits"]["bias"]
    assert 0 < np.linalg.norm(bias) / rate < float(scalars["grad_norm_head"])


def test_bfloat16_computes_coarsely_and_keeps_float32_parameters():
    states, losses = [], []
    for dtype in ("float32", "bfloat16"):
        experiment = on_one_device(AVERAGED | {"model.dtype": dtype})
        state, scalars = run_steps(experiment, 4)
        states.append(state)
        losses.append([values["loss"] for values in scalars])
    dtypes = jax.tree.map(lambda leaf: leaf.dtype.name, states[1])
    assert set(jax.tree.leaves((dtypes.params, dtypes.ema))) == {"float32"}
    assert set(jax.tree.leaves(dtypes.opt_state)) == {"float32", "int32"}
    np.testing.assert_allclose(losses[1], losses[0], atol=0.03)  # 8 bits of mantissa
    assert losses[1] != losses[0]


def test_randomness_is_a_function_of_seed_and_step():
    still = RANDOM_STEP | ONE_BLOCK | {"optimizer.learning_rate": 0.0}

    def losses(seed):
        experiment = on_one_device(still | {"seed": seed})
        step, state, found = train_step(experiment), new_state(start, lively=True), []
        for _ in range(3):
            state, scalars = step(state, put(experiment, host_batch()))
            found.append(float(scalars["loss"]))
        return found

    start = on_one_device(still)
    found = losses(0)
    assert found == losses(0)
    assert found != losses(1)
    assert len(set(found)) == 3


def test_gradients_match_finite_differences():
    """The whole step, seen from outside: the loss falls as the gradient says."""
    experiment = on_one_device(PLAIN)
    step = train_step(experiment)
    batch = put(experiment, host_batch())
    state = new_state(experiment, lively=True)
    state, first = step(state, batch)
    _, second = step(state, batch)
    fall = float(first["loss"] - second["loss"])
    expected = 1e-5 * float(first["grad_norm"]) ** 2
    assert fall == pytest.approx(expected, rel=0.1)  # second order in the rate
