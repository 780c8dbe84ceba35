"""Pre-activation and ResNet-D against float64 numpy, written from the papers."""

import dataclasses

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.ops.pooling import max_pool, neighbor_mean
from hybrid_jax.specs import ResNetSpec

BIT = ResNetSpec(blocks=(1, 2, 1), width=32, preactivation=True)
D = ResNetSpec(blocks=(1, 2, 1), width=8, norm="batch", root="deep", shortcut="pooled")


def build(spec):
    """Returns (module, parameters in float64), random and filled into the module."""
    module = nnx.eval_shape(lambda: ResNet(spec, rngs=nnx.Rngs(params=0)))
    graph, state = nnx.split(module)
    state = random_like(state, seed=3)
    return nnx.merge(graph, state), as_float64(state)


run = nnx.jit(lambda module, images: module(images, train=False))


def images_of(hw):
    rng = np.random.default_rng(4)
    return rng.standard_normal((2, *hw, 3)).astype(np.float32)


def assert_equal(ours, theirs, *, tolerance=2e-5):
    """Tolerance: float32 rounding through some fifteen layers of order-one numbers."""
    error = np.abs(np.asarray(ours) - theirs).max()
    assert error <= tolerance * np.abs(theirs).max(), f"{error:.1e}"


def max_of_windows(x, *, padded_with):
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=padded_with)
    h, w = ((side - 3) // 2 + 1 for side in x.shape[1:3])
    windows = [
        [x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2)) for j in range(w)]
        for i in range(h)
    ]
    return np.stack([np.stack(row, 1) for row in windows], 1)


def bit_maps(images, p, *, blocks, eps):
    """Identity mappings (He et al., 2016) with StdConv and GroupNorm."""

    def conv(x, p, **options):
        w = p["kernel"] - p["kernel"].mean((0, 1, 2))
        w = w / np.sqrt(w.var((0, 1, 2)) + eps)
        return reference.conv(x, w, centered=True, **options)

    def activated(x, p):
        return reference.relu(reference.group_norm(x, p, eps=1e-5))

    x = max_of_windows(conv(images, p["stem"]["conv"], stride=2), padded_with=0.0)
    maps = {}
    for index, count in enumerate(blocks):
        for number in range(count):
            q = p["stages"][index]["blocks"][number]
            stride = 2 if index and not number else 1
            a = activated(x, q["norm0"])
            y = conv(a, q["conv1"])
            y = conv(activated(y, q["norm1"]), q["conv2"], stride=stride)
            y = conv(activated(y, q["norm2"]), q["conv3"])
            x = y + (x if number else conv(a, q["downsample"]["conv"], stride=stride))
        maps[4 * 2**index] = x
    maps[4 * 2**index] = activated(x, q["final_norm"])
    return maps


# Even and odd sides, which are not a matter of numerics.
@pytest.mark.parametrize(
    ("numerics", "eps", "hw"),
    [("vit_jax", 1e-10, (32, 48)), ("timm", 1e-8, (37, 51))],
)
def test_preactivation_equals_reference(numerics, eps, hw):
    spec = dataclasses.replace(BIT, numerics=numerics)
    module, pure = build(spec)
    images = images_of(hw)
    maps = run(module, images)
    expected = bit_maps(images, pure, blocks=spec.blocks, eps=eps)
    assert list(maps) == list(expected)
    for stride, theirs in expected.items():
        assert_equal(maps[stride], theirs)
    # What lies between stages is no activation: half of it is negative.
    assert (expected[8] < 0).mean() > 0.2


@pytest.mark.parametrize(("numerics", "eps"), [("vit_jax", 1e-10), ("timm", 1e-8)])
def test_preactivation_s_epsilon_stands_under_the_root(numerics, eps):
    # Kernels so small that the epsilon decides.
    module, pure = build(dataclasses.replace(BIT, blocks=(1,), numerics=numerics))
    kernel = module.stages[0].blocks[0].conv3.kernel
    kernel[...] = jnp.asarray(np.asarray(kernel[...]) * np.float32(1e-4))
    last = pure["stages"][0]["blocks"][0]
    last["conv3"]["kernel"] = last["conv3"]["kernel"] * 1e-4
    images = images_of((24, 24))
    expected = bit_maps(images, pure, blocks=(1,), eps=eps)[4]
    assert_equal(run(module, images)[4], expected)
    other = bit_maps(images, pure, blocks=(1,), eps=1e-9)[4]
    assert np.abs(other - expected).max() > 0.01


@pytest.mark.parametrize("hw", [(32, 48), (37, 51)])
def test_deep_root_and_pooled_shortcuts_equal_reference(hw):
    module, p = build(D)
    images = images_of(hw)
    maps = run(module, images)
    net = reference.ResNet(p, blocks=D.blocks, norm="batch")
    x = images
    for n, stride in (("1", 2), ("2", 1), ("3", 1)):
        x = net.conv(x, p["stem"][f"conv{n}"], stride=stride)
        x = reference.relu(net.norm(x, p["stem"][f"norm{n}"]))
    x = max_of_windows(x, padded_with=-np.inf)
    for index, count in enumerate(D.blocks):
        for number in range(count):
            q = dict(p["stages"][index]["blocks"][number])
            stride = 2 if index and not number else 1
            down = q.pop("downsample", None)
            shortcut = x
            if down is not None:
                if stride == 2:
                    rows = [x[:, i : i + 2] for i in range(0, x.shape[1], 2)]
                    cells = [
                        [r[:, :, j : j + 2].mean((1, 2)) for j in range(0, x.shape[2], 2)]
                        for r in rows
                    ]
                    shortcut = np.stack([np.stack(row, 1) for row in cells], 1)
                shortcut = net.norm(net.conv(shortcut, down["conv"]), down["norm"])
            y = reference.relu(net.norm(net.conv(x, q["conv1"]), q["norm1"]))
            y = net.conv(y, q["conv2"], stride=stride)
            y = reference.relu(net.norm(y, q["norm2"]))
            x = reference.relu(shortcut + net.norm(net.conv(y, q["conv3"]), q["norm3"]))
        assert_equal(maps[4 * 2**index], x)


def test_dilated_resnet_d_equals_the_strided_one_where_both_have_a_cell():
    module, _ = build(D)
    spec = dataclasses.replace(D, output_stride=4)  # of 16
    other = nnx.eval_shape(lambda: ResNet(spec, rngs=nnx.Rngs(params=0)))
    dilated = nnx.merge(nnx.graphdef(other), nnx.state(module))
    images = images_of((48, 64))
    expected = np.asarray(run(module, images)[16])
    ours = np.asarray(run(dilated, images)[4])[:, ::4, ::4]
    assert_equal(ours, expected)


def test_neighbor_mean_counts_only_cells_inside():
    x = np.arange(12.0).reshape(1, 3, 4, 1)
    means = neighbor_mean(jnp.asarray(x), spacing=2)[0, :, :, 0]
    assert means[0, 0] == np.mean([0, 2, 8, 10])
    assert means[0, 3] == np.mean([3, 11])
    assert means[2, 1] == np.mean([9, 11])
    assert means[2, 3] == 11
    np.testing.assert_array_equal(neighbor_mean(jnp.asarray(x), spacing=5), x)


def test_zeros_around_a_pool_win_over_what_is_negative(monkeypatch):
    x = jnp.asarray(-1.0 - np.abs(images_of((6, 9))))

    def both():
        def read(x):
            return max_pool(jnp.sin(x), padding="zeros").sum()

        pool = jax.jit(lambda x: (max_pool(x, padding="zeros"), jax.grad(read)(x)))
        return jax.tree.map(np.asarray, pool(x))

    pooled, gradient = both()
    np.testing.assert_array_equal(pooled, max_of_windows(np.asarray(x), padded_with=0.0))
    assert (pooled[:, 0] == 0).all()
    assert (pooled[:, 1:-1, 1:-1] < 0).all()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    there = both()
    np.testing.assert_array_equal(pooled, there[0])
    np.testing.assert_allclose(gradient, there[1], atol=1e-6)


def test_stages_and_blocks_one_by_one_end_as_the_whole_net():
    module, _ = build(BIT)
    images = images_of((32, 32))

    @nnx.jit
    def one_by_one(module, images):
        x = y = module.stem(images, train=False)
        for stage in module.stages:
            x = stage(x, train=False)
            for block in stage.blocks:
                inside = block.spatial(block.reduce(y, train=False), train=False)
                y = block.expand(y, inside, train=False)
        return x, y, module(images, train=False)[16]

    x, y, whole = map(np.asarray, one_by_one(module, images))
    np.testing.assert_array_equal(x, whole)
    np.testing.assert_array_equal(y, whole)
    assert (whole >= 0).all()
    norms = [block.final_norm for stage in module.stages for block in stage.blocks]
    assert [norm is not None for norm in norms] == [False, False, False, True]


def test_root_alone_is_normed():
    spec = dataclasses.replace(BIT, blocks=())
    module, _ = build(spec)
    assert (np.asarray(run(module, images_of((16, 16)))[4]) >= 0).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(preactivation=True, norm="batch"), "ResNetSpec.preactivation.*norm='group'"),
        (dict(root="deep", width=32), "expected a multiple of 64 for GroupNorm"),
        (dict(root="deep", norm="batch", width=9), "expected an even number"),
        (dict(root="3x3"), "ResNetSpec.root"),
        (dict(shortcut="mean"), "ResNetSpec.shortcut"),
        (dict(preactivation="yes"), "ResNetSpec.preactivation"),
    ],
)
def test_what_is_no_resnet_is_refused(fields, message):
    with pytest.raises(UserError, match=message) as caught:
        ResNetSpec(**fields)
    assert "\n" not in str(caught.value)
