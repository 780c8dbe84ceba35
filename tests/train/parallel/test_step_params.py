"""What becomes of parameters between the state and the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_examples import host_batch, new_state, put, small_experiment, train_step

from hybrid_jax.models.layers import convolution
from hybrid_jax.models.layers.compute_dtype import cast_dtypes
from hybrid_jax.train.parallel import step_params
from hybrid_jax.train.state import merge_model, path_name

RESNET = {"model.fusion": "resnet"}  # all kernels that are standardized


def model_of(experiment):
    return merge_model(
        experiment.graph, experiment.shapes.params, experiment.shapes.mutable
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_are_standardized_once_a_step(monkeypatch, accumulate):
    changes = RESNET | {"train.accumulate": accumulate}
    experiment = small_experiment(changes, mesh="single")
    once, standardize = [], step_params.standardize

    def counted(kernel, *, numerics):
        once.append(kernel.shape)
        return standardize(kernel, numerics=numerics)

    def never(*args, **options):
        raise AssertionError("a convolution standardized its kernel inside the model")

    monkeypatch.setattr(step_params, "standardize", counted)
    monkeypatch.setattr(convolution, "standardize", never)
    batch = put(experiment, host_batch())
    jax.eval_shape(experiment.jitted_train_step(), experiment.shapes, batch)
    kernels = step_params.standardized_kernels(model_of(experiment))
    assert len(once) == len(kernels) > 0


def test_step_moves_standardized_weights_by_their_own_gradient():
    changes = RESNET | {
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.0,
        "optimizer.clip_norm": 0.0,
        "optimizer.weight_decay": 0.0,
        "optimizer.learning_rate": 1.0,
    }
    experiment = small_experiment(changes, mesh="single")
    before = new_state(experiment, lively=True)
    # The last norm begins at zero, and nothing before it would be moved.
    norm = before.params["backbone"]["resnet"]["stages"]["0"]["blocks"]["0"]["norm3"]
    norm["scale"] = jnp.ones_like(norm["scale"])
    params = jax.tree.map(jnp.copy, before.params)
    batch = put(experiment, host_batch())

    def loss(params):
        model = merge_model(experiment.graph, params, before.mutable)
        images = batch["image"] / 127.5 - 1.0
        outputs = model(images, train=True)
        total = experiment.task.loss(outputs, dict(batch, image=images))
        return total.total / total.count

    grads = jax.jit(jax.grad(loss))(params)
    after, _ = train_step(experiment)(before, batch)
    kernels = step_params.standardized_kernels(model_of(experiment))
    moved = jax.tree.map(lambda a, b: a - b, params, after.params)
    compared = 0
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(grads), strict=True
    ):
        if path_name(path) in kernels:
            scale = np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, atol=1e-3 * scale)
            compared += scale > 0.0
    assert compared == len(kernels)


def test_arrays_in_parts_travel_in_the_compute_dtype():
    experiment = small_experiment({"model.dtype": "bfloat16"}, mesh="fsdp8")
    dtypes = cast_dtypes(model_of(experiment))
    shapes, shardings = experiment.shapes.params, experiment.shardings.params
    formed = jax.eval_shape(
        lambda x: step_params.put_together(x, shardings, dtypes), shapes
    )
    found = {path_name(p): x.dtype for p, x in jax.tree_util.tree_leaves_with_path(formed)}
    split = {
        path_name(path)
        for path, sharding in jax.tree_util.tree_leaves_with_path(shardings)
        if "fsdp" in sharding.spec
    }
    kernel = "backbone/vit/blocks/0/attn/qkv/kernel"
    assert found[kernel] == jnp.bfloat16
    assert found["backbone/resnet/stages/0/blocks/0/conv2/kernel"] == jnp.bfloat16
    assert found["backbone/vit/position"] == jnp.float32  # cast after it was resized
    assert {name for name in found if found[name] == jnp.bfloat16} <= split
    # The gradient comes back in float32 and in parts, whatever it traveled in.
    grads = jax.eval_shape(
        jax.grad(
            lambda x: sum(
                jnp.sum(leaf.astype(jnp.float32))
                for leaf in jax.tree.leaves(step_params.put_together(x, shardings, dtypes))
            )
        ),
        shapes,
    )
    assert {x.dtype for x in jax.tree.leaves(grads)} == {jnp.dtype("float32")}
