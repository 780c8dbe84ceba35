"""The ResNet part against float64 numpy and against what dilation and norms promise."""

import dataclasses
import math

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.convolution import Conv, standardise
from hybrid_jax.models.normalisation import BatchNorm, GroupNorm
from hybrid_jax.models.resnet import ResNet
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


@pytest.mark.parametrize("numerics", ["vit_jax", "timm"])
@pytest.mark.parametrize("hw", [(32, 48), (37, 51)])  # even: asymmetric SAME padding
def test_group_norm_resnet_equals_reference(numerics, hw):
    spec = dataclasses.replace(TINY, numerics=numerics)
    apply, state, pure = build(spec)
    images = images_of(hw)
    expected = reference.ResNet(pure, blocks=spec.blocks, norm="group", numerics=numerics)
    assert_maps_equal(apply(state, images), expected(images))


@pytest.mark.parametrize("hw", [(64, 96), (51, 70)])
def test_batch_norm_resnet_equals_reference(hw):
    apply, state, pure = build(TINY_BATCH)
    images = images_of(hw)
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
    strided = apply(state, images)[32]
    for output_stride in (16, 8):
        dilate, same, _ = build(
            dataclasses.replace(TINY_BATCH, output_stride=output_stride)
        )
        step = 32 // output_stride
        dilated = dilate(same, images)[output_stride][:, ::step, ::step]
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
    assert_maps_equal(maps, [reference.max_pool(x, centred=False)])


def test_blocks_start_as_the_identity():
    spec = ResNetSpec(blocks=(2,), width=32)
    model = ResNet(spec, rngs=nnx.Rngs(params=0))
    x = jax.nn.relu(images_of((6, 9), channels=128))
    np.testing.assert_array_equal(model.stages[0].blocks[1](x, train=False), x)


def test_even_input_is_padded_two_before_and_three_after():
    assert reference.same_pads(224, kernel=7, stride=2) == (2, 3)
    conv = Conv(1, 1, kernel=7, stride=2, rngs=nnx.Rngs(params=0))
    conv.kernel[...] = jnp.zeros((7, 7, 1, 1)).at[2, 2].set(1.0)
    image = images_of((8, 12), channels=1)
    # With two cells before, tap (2, 2) of window (i, j) reads cell (2 i, 2 j).
    np.testing.assert_array_equal(conv(image), image[:, ::2, ::2])


@pytest.mark.parametrize("padding", ["same", "centred"])
def test_max_pool_padding_never_wins(padding):
    x = -1.0 - np.abs(images_of((6, 9), channels=5))
    expected = reference.max_pool(x, centred=padding == "centred")
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), padding=padding), expected)
    assert (expected < 0).all()


@pytest.mark.parametrize("padding", ["same", "centred"])
@pytest.mark.parametrize("hw", [(6, 9), (7, 12)])
def test_max_pool_is_the_same_on_accelerators_with_its_gradient(monkeypatch, padding, hw):
    x = jnp.asarray(images_of(hw, channels=5))

    def run():
        return max_pool(x, padding=padding), jax.grad(
            lambda x: jnp.sum(jnp.sin(max_pool(x, padding=padding)))
        )(x)

    here = run()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for ours, theirs in zip(here, run(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


# --- convolution ------------------------------------------------------------------------


def conv_by_lax(x, kernel, *, stride, pads):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(1, 1, "same"), (1, 2, "same"), (1, 2, "centred"), (4, 4, "end")],
)
@pytest.mark.parametrize("hw", [(8, 12), (9, 14)])
def test_matrix_form_equals_the_convolution_with_its_gradients(kernel, stride, padding, hw):
    conv = Conv(
        3, 5, kernel=kernel, stride=stride, padding=padding, rngs=nnx.Rngs(params=0)
    )
    graph, state = nnx.split(conv)
    x = jnp.asarray(images_of(hw))
    pads = [(0, -side % stride if kernel > 1 else 0) for side in hw]

    def ours(w, x):
        merged = nnx.merge(graph, state, copy=True)
        merged.kernel[...] = w
        return merged(x)

    def theirs(w, x):
        return conv_by_lax(x, w, stride=stride, pads=pads)

    w = conv.kernel[...]
    expected = theirs(w, x)
    # Products of at most 48 numbers summed in another order.
    np.testing.assert_allclose(ours(w, x), expected, atol=1e-5)
    weights = jnp.asarray(images_of(expected.shape[1:3], channels=5, seed=6))
    for ours_grad, theirs_grad in zip(
        jax.grad(lambda w, x: jnp.vdot(weights, ours(w, x)), argnums=(0, 1))(w, x),
        jax.grad(lambda w, x: jnp.vdot(weights, theirs(w, x)), argnums=(0, 1))(w, x),
        strict=True,
    ):
        np.testing.assert_allclose(ours_grad, theirs_grad, atol=1e-4)


@pytest.mark.parametrize("numerics", ["vit_jax", "timm"])
def test_standardise_equals_reference(numerics):
    # Small weights make the epsilons matter: the two numerics differ by a third here.
    kernel = 2e-5 * np.random.default_rng(0).standard_normal((3, 3, 4, 7))
    expected = reference.standardise(kernel, numerics)
    ours = standardise(jnp.asarray(kernel, jnp.float32), numerics=numerics)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_standardised_kernel_has_mean_zero_and_deviation_one_per_output():
    kernel = 5.0 + 3.0 * np.random.default_rng(0).standard_normal((3, 3, 4, 7))
    w = standardise(jnp.asarray(kernel, jnp.float32), numerics="vit_jax")
    np.testing.assert_allclose(w.mean((0, 1, 2)), 0.0, atol=1e-6)
    np.testing.assert_allclose(w.std((0, 1, 2)), 1.0, atol=1e-4)  # the epsilon's share


def test_standardised_conv_ignores_scale_and_offset_of_its_kernel():
    conv = Conv(3, 5, kernel=3, standardised="timm", rngs=nnx.Rngs(params=0))
    x = images_of((6, 9))
    before = conv(x)
    conv.kernel[...] = 10.0 * conv.kernel[...] + 2.0
    np.testing.assert_allclose(conv(x), before, atol=1e-4)


def test_standardised_conv_standardises_in_float32_under_bfloat16():
    conv = Conv(
        3, 5, kernel=3, standardised="timm", dtype="bfloat16", rngs=nnx.Rngs(params=0)
    )
    # In bfloat16 an offset of 100 would swallow the weights altogether.
    before = conv(images_of((6, 9)))
    assert before.dtype == jnp.bfloat16
    conv.kernel[...] = conv.kernel[...] + 100.0
    after = conv(images_of((6, 9)))
    np.testing.assert_allclose(
        after.astype(jnp.float32), before.astype(jnp.float32), atol=0.1
    )


# --- norms ------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_group_norm_equals_flax(offset):
    ours = GroupNorm(96, eps=1e-5)
    theirs = nnx.GroupNorm(
        96, num_groups=32, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(params=0)
    )
    rng = np.random.default_rng(0)
    scale, bias = jnp.asarray(rng.standard_normal((2, 96)), jnp.float32)
    for norm in (ours, theirs):
        norm.scale[...], norm.bias[...] = scale, bias
    x = offset + images_of((5, 7), channels=96)
    # E[x^2] - E[x]^2 loses some 1e-6 * offset^2 of a variance of one.
    tolerance = 1e-5 * max(1.0, offset**2)
    np.testing.assert_allclose(ours(x, train=False), theirs(x), atol=tolerance)


def test_group_norm_of_a_constant_map_is_its_bias():
    norm = GroupNorm(64, eps=1e-6)
    norm.bias[...] = jnp.arange(64.0)
    out = norm(jnp.full((2, 3, 5, 64), 7.7), train=False)
    # Rounding of 7.7^2 over the root of the epsilon.
    np.testing.assert_allclose(out, np.broadcast_to(np.arange(64.0), out.shape), atol=2e-2)


def test_group_norm_statistics_are_float32_under_bfloat16():
    norm = GroupNorm(64, eps=1e-6, dtype="bfloat16")
    x = jnp.asarray(100.0 + images_of((9, 13), channels=64), jnp.bfloat16)
    y = norm(x, train=False)
    assert y.dtype == jnp.bfloat16
    exact = reference.group_norm(
        np.asarray(x, np.float64), dict(scale=1.0, bias=0.0), eps=1e-6
    )
    # Float32 statistics of the rounded input, output rounded to 8 bits.
    np.testing.assert_allclose(np.asarray(y, np.float64), exact, atol=0.05)


def test_batch_norm_updates_its_statistics_with_torch_momentum_in_training_only():
    norm = BatchNorm(5, scale_init=1.0, dtype="float32", rngs=nnx.Rngs(params=0))
    x = 3.0 + images_of((7, 9), channels=5)
    norm(x, train=False)
    np.testing.assert_array_equal(norm.mean[...], np.zeros(5))
    norm(x, train=True)
    np.testing.assert_allclose(norm.mean[...], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)


def test_batch_norm_normalises_with_batch_statistics_in_training():
    norm = BatchNorm(5, scale_init=1.0, dtype="float32", rngs=nnx.Rngs(params=0))
    x = 3.0 + images_of((7, 9), channels=5)
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(norm(x, train=True), expected, atol=1e-5)


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


def test_batch_norm_statistics_are_float32_under_bfloat16():
    norm = BatchNorm(5, scale_init=1.0, dtype="bfloat16", rngs=nnx.Rngs(params=0))
    x = jnp.asarray(images_of((7, 9), channels=5), jnp.bfloat16)
    assert norm(x, train=True).dtype == jnp.bfloat16
    assert norm.mean[...].dtype == norm.var[...].dtype == jnp.float32
    # Statistics that bfloat16 cannot hold: 1000.5 would become 1000.
    norm.mean[...] = jnp.full(5, 1000.5)
    norm.var[...] = jnp.ones(5)
    y = norm(jnp.full((1, 2, 3, 5), 1001.0), train=False)
    np.testing.assert_allclose(np.asarray(y, np.float32), 0.5, atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(width=48), "multiple of 32, got 48"),
        (dict(blocks=(2, 0)), "1 or more blocks"),
        (dict(norm="layer"), "expected one of 'group', 'batch', got 'layer'"),
        (dict(output_stride=2), "ResNetSpec.output_stride"),
        (dict(numerics="torch"), "ResNetSpec.numerics"),
        (dict(dtype="float16"), "ResNetSpec.dtype"),
        (dict(widht=64), "Did you mean 'width'"),
    ],
)
def test_resnet_spec_refuses(options, message):
    with pytest.raises(UserError, match=message):
        resnet_spec("r26", **options)


def test_unknown_resnet_size_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown ResNetSpec size 'r51'.*'r50'"):
        resnet_spec("r51")
