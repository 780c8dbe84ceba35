"""The estimate against devices that really hold a state, and against XLA's own buffers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_run import small_config

from hybrid_jax.models.hybrid import create_model
from hybrid_jax.outputs import ClassificationOutputs
from hybrid_jax.profiling.memory_estimate import ResidualBytes, residual_bytes, step_memory
from hybrid_jax.programs.tiles import tiled_bytes
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.optimization.freezing import paths_of
from hybrid_jax.train.state import make_init, merge_model, path_name

NOTHING = ResidualBytes(per_image=0)


def traced(build):
    graph, _, shapes = make_init(build, optax.identity(), averaged=False)
    return graph, shapes


def kept(name, *, size, **options):
    graph, shapes = traced(
        lambda _: create_model(name, num_classes=10, image_size=size, **options)
    )
    return kept_of(graph, shapes, size=size)


def kept_of(graph, shapes, *, size):
    def loss(params, mutable, images):
        model = merge_model(graph, params, mutable)
        return jnp.square(model(images, train=True, key=None).logits).sum()

    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return residual_bytes(loss, shapes.params, shapes.mutable, batch=images)


class TwoLayers(nnx.Module):
    """sin(x A) B: x A and sin(x A) are kept, cos(x A) is computed again; x is the batch."""

    def __init__(self, rngs):
        self.first = nnx.Linear(12, 20, rngs=rngs)
        self.second = nnx.Linear(20, 7, rngs=rngs)

    def __call__(self, images, *, train, key):
        x = images.reshape(images.shape[0], -1)
        return ClassificationOutputs(self.second(jnp.sin(self.first(x))))


def test_kept_is_what_the_gradient_cannot_compute_again():
    graph, shapes = traced(TwoLayers)
    found = kept_of(graph, shapes, size=2)
    # The square of the seven results is computed again too; they are kept.
    assert found.per_image == 4 * (20 + 20 + 7)


def test_bfloat16_keeps_half():
    options = dict(vit_options=dict(width=64, depth=1, num_heads=2, mlp_dim=256))
    whole = kept("vit_s16", size=32, **options)
    half = kept("vit_s16", size=32, dtype="bfloat16", **options)
    assert 0.45 * whole.per_image < half.per_image < 0.65 * whole.per_image


def test_remat_keeps_less():
    small = dict(width=64, depth=6, num_heads=2, mlp_dim=256)
    usual = kept("vit_s16", size=64, vit_options=small)
    remat = kept("vit_s16", size=64, vit_options=small | dict(remat="full"))
    assert remat.per_image < 0.2 * usual.per_image


def test_maps_grow_with_the_area():
    options = dict(resnet_options=dict(blocks=(1, 1)))
    small, large = (kept("resnet50", size=size, **options) for size in (64, 128))
    assert large.per_image == pytest.approx(4 * small.per_image, rel=0.02)


SMALL = dict(
    resnet=dict(fusion="resnet", resnet_options=dict(blocks=(1,), width=32)),
    vit=dict(
        fusion="vit",
        vit_options=dict(width=64, depth=1, num_heads=2, mlp_dim=256, patch_size=8),
    ),
)


@pytest.mark.parametrize("name", SMALL)
def test_estimate_is_near_what_xla_keeps(name):
    """XLA merges and recomputes; how its buffers grow with the batch is what it keeps."""

    def build(_):
        return create_model("r26_vit_s32", num_classes=10, image_size=64, **SMALL[name])

    graph, shapes = traced(build)

    def loss(params, mutable, images):
        model = merge_model(graph, params, mutable)
        return jnp.square(model(images, train=True).logits).sum()

    def buffers(count):
        images = jax.ShapeDtypeStruct((count, 64, 64, 3), jnp.float32)
        step = jax.jit(jax.grad(loss)).lower(shapes.params, shapes.mutable, images)
        return step.compile().memory_analysis().temp_size_in_bytes

    grown = (buffers(32) - buffers(16)) / 16
    estimate = kept_of(graph, shapes, size=64)
    assert 0.7 * grown < estimate.per_image + estimate.workspace < 1.3 * grown


@pytest.mark.parametrize("mesh", [(8, 1, 1), (2, 4, 1), (2, 2, 2)], ids=str)
def test_state_takes_what_a_device_really_holds(mesh):
    axes = dict(zip(("mesh.data", "mesh.fsdp", "mesh.tensor"), mesh, strict=True))
    experiment = prepare(
        small_config(axes | {"train.ema_decay": 0.9, "mesh.fsdp_min_elements": 64})
    )
    memory = step_memory(
        experiment.shapes, experiment.shardings, NOTHING, images=0, accumulate=1
    )
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), experiment.shapes)
    state = jax.device_put(zeros, experiment.shardings)  # compiles nothing
    device = jax.devices()[0]

    def held(tree):
        shards = [s for x in jax.tree.leaves(tree) for s in x.addressable_shards]
        return sum(shard.data.nbytes for shard in shards if shard.device == device)

    assert memory.parameters == memory.gradients == held(state.params)
    assert memory.optimizer == held(state.opt_state)
    assert memory.average == held(state.ema)
    whole = sum(4 * math.prod(x.shape) for x in jax.tree.leaves(state.params))
    assert (memory.parameters < whole) == (mesh[1] > 1)


def test_weights_in_parts_are_put_together_in_the_dtype_they_travel_in():
    experiment = prepare(small_config({"mesh.fsdp": 8, "mesh.data": 1}))
    shapes, spread = experiment.shapes, experiment.shardings
    split = {
        path_name(path): leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes.params)
        if leaf.size >= 4096
    }
    assert len(split) > 2
    half = next(iter(split))  # others stay as they are
    dtypes = {half: jnp.bfloat16}
    kept = dict(images=1, accumulate=1, dtypes=dtypes)
    found = step_memory(shapes, spread, NOTHING, **kept)
    assert found.gathered == 4 * sum(split.values()) - 2 * split[half]
    much = step_memory(shapes, spread, ResidualBytes(per_image=10**9), **kept)
    assert much.total - found.total == 10**9 + found.gathered - max(
        found.gathered, found.gradients
    )


def test_small_arrays_take_whole_tiles_on_tpus():
    experiment = prepare(small_config())
    shapes, spread = experiment.shapes, experiment.shardings
    found = step_memory(shapes, spread, NOTHING, images=0, accumulate=1, on_tpu=True)
    leaves = jax.tree.leaves((shapes.params, shapes.mutable))
    assert found.parameters == sum(tiled_bytes(leaf.shape, 4) for leaf in leaves)
    assert found.parameters > 4 * sum(leaf.size for leaf in leaves)


def test_frozen_parameters_have_no_gradients():
    """The gradients that a step computes are of what its optimizer splits off to train."""
    experiment = prepare(small_config({"optimizer.freeze": "^backbone/(resnet|vit/embed)"}))
    shapes, shardings = experiment.shapes, experiment.shardings
    trained, frozen = experiment.optimizer.split(shapes.params)
    found = step_memory(
        shapes, shardings, NOTHING, images=0, accumulate=2, frozen=paths_of(frozen)
    )
    assert found.gradients == 4 * sum(x.size for x in jax.tree.leaves(trained))
    assert found.accumulated == found.gradients
    assert found.parameters - found.gradients == 4 * sum(
        x.size for x in jax.tree.leaves(frozen)
    )


def test_sums_of_a_step():
    experiment = prepare(small_config({"optimizer.name": "sgd"}))
    shapes, shardings = experiment.shapes, experiment.shardings
    few = ResidualBytes(per_image=1000, workspace=7, row=2)
    many = ResidualBytes(per_image=10**7, workspace=7, row=2)
    once = step_memory(shapes, shardings, few, images=3, accumulate=1)
    assert once.activations == 3000
    assert once.workspace == 21
    assert once.batch == 6
    assert once.average == once.accumulated == 0
    # The activations are gone when all gradients are there, and the other way round.
    assert once.total == once.parameters + once.optimizer + once.gradients + 6
    large = step_memory(shapes, shardings, many, images=3, accumulate=1)
    assert large.total == once.total - once.gradients + 3 * 10**7 + 21
    twice = step_memory(shapes, shardings, many, images=3, accumulate=2)
    assert twice.total - large.total == once.gradients + 6 > 6
