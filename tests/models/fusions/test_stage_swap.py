"""`stage_swap` against its stages in float64, one pair of cells at a time."""

import dataclasses
import math

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like
from scipy import special

from hybrid_jax import create_model
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.stage_swap import StageSwap, share_blocks
from hybrid_jax.specs import ResNetSpec, ViTSpec

RESNET = ResNetSpec(blocks=(1, 1, 1), width=32)
VIT = ViTSpec(width=24, depth=3, num_heads=3, mlp_dim=32, num_register_tokens=1)
HW = (36, 60)  # 5 x 8 cells at stride 8, 3 x 4 at stride 16


def build(*, resnet=RESNET, vit=VIT, image_size=HW, pattern="CTT"):
    return StageSwap(
        resnet, vit, image_size=image_size, rngs=nnx.Rngs(params=0), pattern=pattern
    )


def run(**options):
    graph, state = nnx.split(nnx.eval_shape(lambda: build(**options)))
    state = random_like(state)
    features = jax.jit(lambda s, x: nnx.merge(graph, s)(x))(state, jnp.float32(images()))
    return features, as_float64(state)


def images():
    return np.random.default_rng(1).standard_normal((2, *HW, 3))


@pytest.fixture(scope="module")
def plain():
    return run()


def attend(x, p, table, hw, *, heads=3, prefix=2):
    """Self-attention of (B, prefix + h * w, D) with a bias per offset of grid cells."""
    B, N, D = x.shape
    qkv = reference.qkv(x, p["qkv"]).reshape(B, N, 3, heads, D // heads)
    bias = np.zeros((heads, N, N))
    for query in np.ndindex(hw):
        for key in np.ndindex(hw):
            rows, columns = (k - q + n - 1 for q, k, n in zip(query, key, hw, strict=True))
            at = [prefix + i * hw[1] + j for i, j in (query, key)]
            bias[:, *at] = table[:, rows, columns]
    out = np.zeros((B, N, heads, D // heads))
    for head in range(heads):
        q, k, v = (qkv[:, :, part, head] for part in range(3))
        logits = q @ k.transpose(0, 2, 1) / np.sqrt(D // heads) + bias[head]
        out[:, :, head] = special.softmax(logits, axis=-1) @ v
    return reference.linear(out.reshape(B, N, D), p["out"])


def block(x, p, table, hw):
    x = x + attend(reference.layer_norm(x, p["norm1"]), p["attn"], table, hw)
    return x + reference.mlp(reference.layer_norm(x, p["norm2"]), p["mlp"], "tanh")


def halved(x):
    """The mean of every 2x2 cells of (B, h, w, D) that the grid has."""
    h, w = (math.ceil(side / 2) for side in x.shape[1:3])
    cells = [
        x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) for i, j in np.ndindex(h, w)
    ]
    return np.stack(cells, 1), (h, w)


def test_stages_equal_float64(plain):
    features, p = plain
    C = reference.ResNet(p["resnet"], blocks=(1,), norm="group")(images())[0]
    vit, kernel = p["vit"], p["vit"]["embed"]["kernel"]
    h, w = math.ceil(HW[0] / 8), math.ceil(HW[1] / 8)
    patches = []
    for i, j in np.ndindex(h, w):
        window = C[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        taps = kernel[: window.shape[1], : window.shape[2]]
        patches.append(np.einsum("bijc,ijcd->bd", window, taps))
    grid = np.stack(patches, 1) + vit["embed"]["bias"]
    prefix = np.concatenate([vit["cls"], vit["registers"]])
    x = np.concatenate([np.broadcast_to(prefix, (2, 2, 24)), grid], axis=1)
    for index in range(2):  # (1, 1) residual blocks, 3 of the ViT's: 2 and 1
        x = block(x, vit["blocks"][index], p["relative"][index]["table"], (h, w))
    fine = x[:, 2:].reshape(2, h, w, 24)
    grid, coarse = halved(fine)
    x = reference.linear(np.concatenate([x[:, :2], grid], axis=1), p["steps"][0])
    x = block(x, vit["blocks"][2], p["relative"][2]["table"], coarse)
    x = reference.layer_norm(x, vit["norm"])
    expected = {
        4: C,
        8: reference.layer_norm(fine, p["norms"][0]),
        16: x[:, 2:].reshape(2, *coarse, 24),
    }
    for stride, ours in features.maps.items():
        theirs = expected[stride]
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())
    np.testing.assert_allclose(features.pooled, x[:, 0], atol=2e-4)


def test_no_position_but_the_offset_is_left():
    state = nnx.state(nnx.eval_shape(build))
    assert not [name for name in names_and_leaves(state) if "position" in name]
    tables = [state["relative"][index]["table"].shape for index in range(3)]
    assert tables == [(3, 9, 15), (3, 9, 15), (3, 5, 7)]


def test_rotary_positions_stay(plain):
    turned, _ = run(vit=dataclasses.replace(VIT, positions="rope2d"))
    assert jnp.abs(turned.pooled - plain[0].pooled).max() > 1e-3


def test_steps_start_as_the_identity():
    kernel = jax.jit(lambda: nnx.state(build())["steps"][0]["kernel"][...])()
    np.testing.assert_array_equal(kernel, np.eye(24))


@pytest.mark.parametrize(
    ("output_stride", "pattern", "channels"),
    [
        (32, "CCTT", {4: 128, 8: 256, 16: 24, 32: 24}),
        (32, "CTTT", {4: 128, 8: 24, 16: 24, 32: 24}),
        (32, "CCCT", {4: 128, 8: 256, 16: 512, 32: 24}),
        (16, "CCTT", {4: 128, 8: 256, 16: 24}),
        (8, "CCTT", {4: 128, 8: 24}),
    ],
)
def test_every_pattern_meets_every_output_stride(output_stride, pattern, channels):
    resnet = ResNetSpec(blocks=(1, 1, 1, 1), width=32, output_stride=output_stride)
    module = nnx.eval_shape(lambda: build(resnet=resnet, pattern=pattern))
    features = nnx.eval_shape(lambda m, x: m(x), module, jnp.zeros((1, 33, 65, 3)))
    assert module.channels == channels
    assert list(module.channels) == list(features.maps)
    for stride, channel in channels.items():
        shape = (1, math.ceil(33 / stride), math.ceil(65 / stride), channel)
        assert features.maps[stride].shape == shape
    # A step and a norm are there only where a coarser T stage follows.
    steps = [step is not None for step in module.steps]
    assert steps == [output_stride == 32] * (pattern.count("T") - 1)


@pytest.mark.parametrize(
    ("stages", "depth", "replaced"), [(4, 12, 2), (3, 12, 1), (2, 12, 1), (4, 1, 1)]
)
def test_without_a_pattern_the_later_half_is_replaced(stages, depth, replaced):
    resnet = dataclasses.replace(RESNET, blocks=(1,) * stages)
    vit = dataclasses.replace(VIT, depth=depth)
    module = nnx.eval_shape(lambda: build(resnet=resnet, vit=vit, pattern=None))
    assert len(module.depths) == replaced
    assert sum(module.depths) == depth
    assert len(module.resnet.stages) == stages - replaced


@pytest.mark.parametrize(
    ("depth", "blocks", "shares"),
    [
        (12, (6, 3), (8, 4)),
        (12, (2, 2), (6, 6)),
        (24, (23, 3), (21, 3)),
        (3, (4, 6, 3), (1, 1, 1)),
        (12, (4, 36, 1), (1, 10, 1)),
        (5, (3,), (5,)),
    ],
)
def test_depth_is_shared_in_proportion(depth, blocks, shares):
    assert share_blocks(depth, blocks) == shares


def test_defaults_suit_a_small_model():
    def build_tiny():
        return create_model("tiny", num_classes=3, image_size=64, fusion="stage_swap")

    model = nnx.eval_shape(build_tiny)
    assert list(model.backbone.channels) == [4, 8, 16]
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    outputs = nnx.eval_shape(lambda m, x: m(x, train=False), model, images)
    assert outputs.logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(pattern="CCTT"),
            "pattern: expected one letter for each of the ResNet's 3 stages, C's before "
            "T's: CTT or CCT, got 'CCTT'.",
        ),
        (
            dict(pattern="CTC"),
            "pattern: expected one letter for each of the ResNet's 3 stages, C's before "
            "T's: CTT or CCT, got 'CTC'.",
        ),
        (
            dict(vit=ViTSpec(depth=1)),
            "vit.depth: expected 2 or more, one block for each T of CTT, got 1.",
        ),
        (
            dict(resnet=ResNetSpec(blocks=(4,))),
            "resnet: expected 2 or more stages, at least one to keep and one to replace, "
            "got 1.",
        ),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError) as error:
        build(**options)
    assert str(error.value) == f"fusion 'stage_swap': {message}"
