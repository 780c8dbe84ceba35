"""Reads and writes against numpy in float64, and the order of a unit's steps."""

import dataclasses

import float64_reference as reference
import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from flax import nnx
from fresh_modules import fresh_state
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.mobile_former import MobileFormer, Read, Write
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.specs import ResNetSpec, ViTSpec

SPEC = ViTSpec(width=24, depth=3, num_heads=3, mlp_dim=40)
SIZE = (40, 56)


def construct(resnet=small_fusion.RESNET, vit=SPEC, **options):
    rngs = nnx.Rngs(params=0)
    return MobileFormer(resnet, vit, image_size=SIZE, rngs=rngs, **options)


def build(*args, **options):
    return nnx.eval_shape(lambda: construct(*args, **options))


def _heads(x, heads):
    return x.reshape(len(x), -1, heads, x.shape[-1] // heads)


def _read(tokens, x, p, *, heads=2):
    query = reference.linear(reference.layer_norm(tokens, p["norm"]), p["query"])
    cells = _heads(x, heads)
    out = reference.attend(_heads(query, heads), cells, cells)
    return reference.linear(out.reshape(len(x), -1, x.shape[-1]), p["out"])


def _write(x, tokens, p, *, heads=2):
    tokens = reference.layer_norm(tokens, p["norm"])
    key, value = tokens @ p["key"]["kernel"], reference.linear(tokens, p["value"])
    out = reference.attend(_heads(x, heads), _heads(key, heads), _heads(value, heads))
    return out.reshape(x.shape)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_read_and_write_equal_loops_over_heads(heads):
    rng = np.random.default_rng(0)
    x, tokens = rng.standard_normal((2, 4, 5, 32)), rng.standard_normal((2, 6, 24))
    small, tokens32 = jnp.float32(x), jnp.float32(tokens)
    for kind, inputs, expected in (
        (Read, (tokens32, small), lambda p: _read(tokens, x, p, heads=heads)),
        (Write, (small, tokens32), lambda p: _write(x, tokens, p, heads=heads)),
    ):
        graph, state = nnx.split(kind(SPEC, 32, num_heads=heads, rngs=nnx.Rngs(params=0)))
        state = random_like(state)
        ours = jax.jit(nnx.merge(graph, state))(*inputs)
        np.testing.assert_allclose(ours, expected(as_float64(state)), atol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "depth", "units"),
    [
        # (ResNet blocks of each unit as (stage, index), ViT blocks of each unit)
        ((1, 1), 3, [([(0, 0)], [0]), ([(1, 0)], [1, 2])]),
        ((2, 1), 2, [([(0, 0)], [0]), ([(0, 1), (1, 0)], [1])]),
    ],
)
def test_mobile_former_equals_reference(blocks, depth, units):
    resnet = ResNetSpec(blocks=blocks, width=32)
    graph, state = nnx.split(build(resnet, dataclasses.replace(SPEC, depth=depth)))
    state = random_like(state)
    images = np.random.default_rng(1).standard_normal((2, *SIZE, 3))
    ours = jax.jit(lambda s, x: nnx.merge(graph, s)(x))(state, jnp.float32(images))

    p = as_float64(state)
    net = reference.ResNet(p["resnet"], blocks=blocks, norm="group")
    stem = p["resnet"]["stem"]
    x = net.norm(net.conv(images, stem["conv"], stride=2), stem["norm"])
    x = reference.max_pool(reference.relu(x), centered=False)
    tokens, maps = np.repeat(p["tokens"][None], 2, axis=0), {}
    for number, (places, vit_blocks) in enumerate(units):
        tokens = tokens + _read(tokens, x, p["reads"][number])
        for index in vit_blocks:
            tokens = reference.block(
                tokens, p["vit"]["blocks"][index], heads=3, form="tanh", eps=1e-6
            )
        for stage, index in places:
            block = p["resnet"]["stages"][stage]["blocks"][index]
            stride = 2 if stage and not index else 1
            x = maps[4 * 2**stage] = net.bottleneck(x, block, stride=stride, dilation=1)
        x = maps[4 * 2**stage] = x + _write(x, tokens, p["writes"][number])
    first = reference.layer_norm(tokens, p["vit"]["norm"])[:, 0]
    pooled = np.concatenate([x.mean((1, 2)), first], -1)
    for stride, expected in maps.items():
        np.testing.assert_allclose(
            ours.maps[stride], expected, atol=5e-5 * np.abs(expected).max()
        )
    np.testing.assert_allclose(ours.pooled, pooled, atol=5e-5 * np.abs(pooled).max())


def test_maps_start_as_the_resnets():
    resnet = dataclasses.replace(small_fusion.RESNET, blocks=(1, 1))
    graph = nnx.graphdef(build(resnet))
    module = nnx.merge(graph, fresh_state(lambda: construct(resnet)))
    images = small_fusion.example_images(SIZE)

    @nnx.jit
    def both(module):
        return module(images).maps, module.resnet(images, train=False)

    assert isinstance(module.resnet, ResNet)
    maps, expected = both(module)
    for stride in (4, 8):
        np.testing.assert_allclose(maps[stride], expected[stride], atol=1e-4)


@pytest.mark.parametrize(
    ("positions", "pool"),
    [("learned", "cls"), ("sincos2d", "mean"), ("rope2d", "attention")],
)
def test_vit_holds_only_what_tokens_without_a_place_use(pool, positions):
    vit = dataclasses.replace(SPEC, pool=pool, positions=positions, num_register_tokens=2)
    module = build(vit=vit)
    held = {name.split(".")[0] for name in names_and_leaves(nnx.state(module.vit))}
    assert held == {"blocks", "norm"} | ({"probe_pool"} if pool == "attention" else set())
    images = jax.ShapeDtypeStruct((2, *SIZE, 3), jnp.float32)
    assert nnx.eval_shape(lambda m, x: m(x), module, images).pooled.shape == (2, 1024 + 24)


def test_every_parameter_is_read_without_a_class_token():
    resnet = ResNetSpec(blocks=(1,), width=32)
    vit = dataclasses.replace(SPEC, depth=1, pool="mean", positions="rope2d")

    class Small(MobileFormer):
        def __init__(self, resnet_spec, vit_spec, **kw):
            super().__init__(resnet, vit, **kw)

    guarantees.check_everything_is_read(Small)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_tokens=1), "num_tokens: expected 2 or more, got 1."),
        (
            dict(num_heads=3),
            "num_heads: expected a divisor of the ResNet's width 32, got 3.",
        ),
        (
            dict(num_heads=0),
            "num_heads: expected a divisor of the ResNet's width 32, got 0.",
        ),
        (
            dict(resnet=dataclasses.replace(small_fusion.RESNET, blocks=())),
            "resnet: expected a ResNet with stages, got one without (size 'r'). "
            "Choose r26, r50, r101 or r152.",
        ),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError) as error:
        build(**options)
    text = str(error.value).partition("\n---")[0]
    assert text == f"fusion 'mobile_former': {message}"
