"""The ResNet part against float64 numpy and against what dilation and norms promise."""

import dataclasses
import math

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from fresh_modules import fresh_state
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.ops.pooling import max_pool
from hybrid_jax.specs import ResNetSpec, resnet_spec

# Two blocks in a stage show what only its later blocks do.
TINY = ResNetSpec(blocks=(1, 2, 1), width=32)
TINY_BATCH = ResNetSpec(blocks=(1, 2, 1, 2), width=8, norm="batch")


def build(spec, *, seed=3):
    """Returns (apply, state, pure): `apply(state, images, train=...)`, state random."""
    module = nnx.eval_shape(lambda: ResNet(spec, rngs=nnx.Rngs(params=0)))
    graph, state = nnx.split(module)
    state = random_like(state, seed=seed)

    def apply(state, images, *, train=False):
        return nnx.merge(graph, state, copy=True)(images, train=train)

    return jax.jit(apply, static_argnames="train"), state, as_float64(state)


def images_of(hw, *, channels=3, batch=2, seed=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, *hw, channels)).astype(np.float32)


def assert_maps_equal(maps, expected, *, tolerance=2e-5):
    """Tolerance: float32 rounding through some fifteen layers of order-one numbers."""
    assert len(maps) == len(expected)
    for stride, ours, theirs in zip(maps, maps.values(), expected, strict=True):
        error = np.abs(np.asarray(ours) - theirs).max()
        assert error <= tolerance * np.abs(theirs).max(), f"stride {stride}: {error:.1e}"


# Even: asymmetric SAME padding, which is not a matter of numerics.
@pytest.mark.parametrize(
    ("numerics", "hw"), [("vit_jax", (32, 48)), ("vit_jax", (37, 51)), ("timm", (37, 51))]
)
def test_group_norm_resnet_equals_reference(numerics, hw):
    spec = dataclasses.replace(TINY, numerics=numerics)
    apply, state, pure = build(spec)
    images = images_of(hw)
    expected = reference.ResNet(pure, blocks=spec.blocks, norm="group", numerics=numerics)
    assert_maps_equal(apply(state, images), expected(images))


def test_batch_norm_resnet_equals_reference():
    apply, state, pure = build(TINY_BATCH)
    images = images_of((51, 70))
    expected = reference.ResNet(pure, blocks=TINY_BATCH.blocks, norm="batch")
    assert_maps_equal(apply(state, images), expected(images))


@pytest.mark.parametrize("output_stride", [16, 8, 4])
def test_dilated_resnet_equals_reference(output_stride):
    spec = dataclasses.replace(TINY_BATCH, output_stride=output_stride)
    apply, state, pure = build(spec)
    images = images_of((50, 70))
    expected = reference.ResNet(
        pure, blocks=spec.blocks, norm="batch", output_stride=output_stride
    )(images)
    # Of the stages that share a stride the last one's map stays.
    last = {min(4 * 2**index, output_stride): y for index, y in enumerate(expected)}
    assert_maps_equal(apply(state, images), list(last.values()))


def test_dilated_resnet_equals_the_strided_one_where_both_have_a_cell():
    images = images_of((64, 96))
    apply, state, _ = build(TINY_BATCH)
    strided = np.asarray(apply(state, images)[32])
    dilate, same, _ = build(dataclasses.replace(TINY_BATCH, output_stride=8))
    dilated = np.asarray(dilate(same, images)[8])[:, ::4, ::4]
    # The same sums, in another order.
    np.testing.assert_allclose(dilated, strided, atol=1e-5 * np.abs(strided).max())


@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
def test_output_stride_keeps_the_parameters_and_sets_the_maps(output_stride):
    spec = ResNetSpec(blocks=(1, 2, 1, 2), width=32, output_stride=output_stride)
    module = nnx.eval_shape(lambda: ResNet(spec, rngs=nnx.Rngs(params=0)))
    plain = nnx.eval_shape(
        lambda: ResNet(dataclasses.replace(spec, output_stride=32), rngs=nnx.Rngs(params=0))
    )
    ours, theirs = (names_and_leaves(nnx.state(m)) for m in (module, plain))
    assert {n: p.shape for n, p in ours.items()} == {n: p.shape for n, p in theirs.items()}
    graph, state = nnx.split(module)
    maps = jax.eval_shape(
        lambda state, x: nnx.merge(graph, state)(x, train=False),
        state,
        jax.ShapeDtypeStruct((1, 97, 131, 3), jnp.float32),
    )
    assert list(maps) == [s for s in (4, 8, 16, 32) if s <= output_stride]
    for stride, x in maps.items():
        assert x.shape[1:3] == (math.ceil(97 / stride), math.ceil(131 / stride))
        assert x.shape[3] == module.channels[stride]
    assert maps[output_stride].shape[3] == 1024  # stage 4, whatever its stride


def test_width_scales_every_stage():
    spec = resnet_spec("r50", width=96)
    module = nnx.eval_shape(lambda: ResNet(spec, rngs=nnx.Rngs(params=0)))
    assert module.channels == {4: 384, 8: 768, 16: 1536, 32: 3072}
    assert module.stem.conv.kernel.shape == (7, 7, 3, 96)


def test_root_alone_gives_the_stride_four_map():
    apply, state, pure = build(resnet_spec("r"))
    images = images_of((37, 50))
    maps = apply(state, images)
    assert {s: m.shape for s, m in maps.items()} == {4: (2, 10, 13, 64)}
    net = reference.ResNet(pure, blocks=(), norm="group")
    x = reference.relu(
        net.norm(net.conv(images, pure["stem"]["conv"], stride=2), pure["stem"]["norm"])
    )
    assert_maps_equal(maps, [reference.max_pool(x, centered=False)])


def test_blocks_start_as_the_identity():
    spec = ResNetSpec(blocks=(2,), width=32)

    def build():
        return ResNet(spec, rngs=nnx.Rngs(params=0))

    graph = nnx.graphdef(nnx.eval_shape(build))

    @jax.jit
    def second(state, x):
        return nnx.merge(graph, state).stages[0].blocks[1](x, train=False)

    x = reference.relu(images_of((6, 9), channels=128))
    np.testing.assert_array_equal(second(fresh_state(build), x), x)


@pytest.mark.parametrize("padding", ["same", "centered"])
def test_max_pool_padding_never_wins(padding):
    x = -1.0 - np.abs(images_of((6, 9), channels=5))
    expected = reference.max_pool(x, centered=padding == "centered")
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), padding=padding), expected)
    assert (expected < 0).all()


@pytest.mark.parametrize("padding", ["same", "centered"])
@pytest.mark.parametrize("hw", [(6, 9), (7, 12)])
def test_max_pool_is_the_same_on_accelerators_with_its_gradient(monkeypatch, padding, hw):
    x = jnp.asarray(images_of(hw, channels=5))

    def run():
        def read(x):
            pooled = max_pool(x, padding=padding)
            return jnp.sum(jnp.sin(pooled)), pooled

        gradient, pooled = jax.jit(jax.grad(read, has_aux=True))(x)
        return pooled, gradient

    here = run()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for ours, theirs in zip(here, run(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_every_batch_norm_of_a_resnet_is_updated_in_training():
    module = nnx.eval_shape(lambda: ResNet(TINY_BATCH, rngs=nnx.Rngs(params=0)))
    graph, state = nnx.split(module)
    state = random_like(state)

    @jax.jit
    def train(state, images):
        model = nnx.merge(graph, state, copy=True)
        model(images, train=True)
        return nnx.state(model, nnx.BatchStat)

    after = names_and_leaves(train(state, images_of((64, 96))))
    before = names_and_leaves(nnx.filter_state(state, nnx.BatchStat))
    assert after.keys() == before.keys()
    still = [name for name in after if np.array_equal(after[name], before[name])]
    assert not still, f"not updated: {still}"
