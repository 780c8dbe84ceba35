"""An exchange against numpy in float64, where exchanges stand, and what both start as."""

import dataclasses
import math

import float64_reference as reference
import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from flax import nnx
from fresh_modules import fresh_state
from parameters import as_float64, random_like

from hybrid_jax import create_model
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.cross_attention import CrossAttentionFusion, Exchange
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.specs import ViTSpec

SPEC = ViTSpec(width=24, depth=2, num_heads=3, mlp_dim=40, patch_size=16)
SIZE = (40, 56)  # a 3 x 4 grid of patches whose last row and column hang over


def construct(resnet=small_fusion.RESNET, vit=SPEC, **options):
    rngs = nnx.Rngs(params=0)
    return CrossAttentionFusion(resnet, vit, image_size=SIZE, rngs=rngs, **options)


def build(*args, **options):
    return nnx.eval_shape(lambda: construct(*args, **options))


def _table(hw, dim, stride):
    """Sines and cosines at cell centers, measured in patches, one cell at a time."""
    omega = 1e4 ** -np.linspace(0.0, 1.0, dim // 4)
    cells = []
    for i in range(hw[0]):
        for j in range(hw[1]):
            row, column = (((n + 0.5) * stride / 16 - 0.5) * omega for n in (i, j))
            cells.append([np.sin(column), np.cos(column), np.sin(row), np.cos(row)])
    return np.asarray(cells).reshape(len(cells), dim)


def _pool(x, factor):
    h, w = (math.ceil(side / factor) for side in x.shape[1:3])
    out = np.empty((len(x), h, w, x.shape[-1]))
    for i in range(h):
        for j in range(w):
            rows, columns = (slice(n * factor, (n + 1) * factor) for n in (i, j))
            out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


def _attend(query, context, p, *, heads):
    def split(x):
        return x.reshape(*x.shape[:2], heads, -1)

    query = split(reference.linear(query, p["query"]))
    key, value = split(context @ p["key"]["kernel"]), reference.linear(context, p["value"])
    out = reference.attend(query, key, split(value))
    return reference.linear(out.reshape(*out.shape[:2], -1), p["out"])


def _flat(x):
    return x.reshape(len(x), -1, x.shape[-1])


@pytest.mark.parametrize("query_stride", [4, 8])
def test_exchange_equals_its_formula(query_stride):
    stride, channels, grid, hw = 4, 192, (10, 14), (3, 4)
    module = nnx.eval_shape(
        lambda: Exchange(
            SPEC,
            channels,
            stride=stride,
            context_stride=16,
            query_stride=query_stride,
            updates_map=True,
            rngs=nnx.Rngs(params=0),
        )
    )
    graph, state = nnx.split(module)
    state = random_like(state)
    rng = np.random.default_rng(0)
    x, tokens = rng.standard_normal((2, *grid, channels)), rng.standard_normal((2, 13, 24))
    run = jax.jit(lambda state, x, tokens: nnx.merge(graph, state)(x, tokens, hw=hw))
    ours = run(state, jnp.float32(x), jnp.float32(tokens))

    p = as_float64(state)
    cells = reference.layer_norm(x, p["norm_map"])
    asked = reference.layer_norm(tokens, p["norm_tokens"])
    asked[:, 1:] += _table(hw, 24, 16)  # the class token has no place
    context = _flat(_pool(cells, 4)) + _table(hw, channels, 16)
    expected = tokens + _attend(asked, context, p["to_tokens"], heads=3)
    np.testing.assert_allclose(ours[1], expected, atol=2e-5)

    factor = query_stride // stride
    pooled = _pool(cells, factor)
    queries = _flat(pooled) + _table(pooled.shape[1:3], channels, query_stride)
    answer = _attend(queries, asked, p["to_map"], heads=3).reshape(pooled.shape)
    answer = jax.image.resize(
        answer, (2, *(factor * n for n in pooled.shape[1:3]), 192), "linear"
    )
    np.testing.assert_allclose(
        ours[0], x + np.asarray(answer)[:, : grid[0], : grid[1]], atol=2e-5
    )


@pytest.mark.parametrize(
    ("exchanges", "after"),
    [
        (None, (0, 1, 2, 3)),
        (1, (3,)),
        (2, (1, 3)),
        (3, (0, 1, 3)),
        (4, (0, 1, 2, 3)),
        ((1,), (0,)),
        ((2, 3), (1, 2)),
        ([1, 4], (0, 3)),
    ],
)
def test_exchanges_follow_the_count_or_the_stages_named(exchanges, after):
    module = build(exchanges=exchanges)
    assert module.meets_after == after
    widths = [exchange.norm_map.num_features for exchange in module.exchanges]
    assert widths == [module.resnet.stages[index].channels for index in after]


class Early(CrossAttentionFusion):
    """Meets after the first stage, where much could be left without a reader.

    Of three stages the ViT's map replaces the last, which then has to meet it too.
    """

    def __init__(self, resnet_spec, vit_spec, *, image_size, rngs):
        exchanges = (1, 3) if len(resnet_spec.blocks) == 3 else (1,)
        super().__init__(
            resnet_spec, vit_spec, image_size=image_size, rngs=rngs, exchanges=exchanges
        )


def test_an_early_exchange_leaves_nothing_unread():
    guarantees.check_everything_is_read(Early)


@pytest.mark.slow  # that everything is read is tested above; the default stages by name
def test_an_early_exchange_leaves_nothing_without_gradient():
    guarantees.check_gradient_reaches_everything(Early)


def test_tokens_hear_of_every_stage_and_maps_of_the_tokens():
    """With random weights, silencing one exchange changes pooled and the later maps."""
    module = build(vit=dataclasses.replace(SPEC, depth=4))
    graph, state = nnx.split(module)
    state = random_like(state)
    images = small_fusion.example_images(SIZE)
    run = jax.jit(lambda state: nnx.merge(graph, state)(images, train=False))
    whole = jax.device_get(run(state))
    for number in range(4):
        silenced = jax.tree.map(lambda x: x, state)
        for side in ("to_tokens", "to_map"):
            out = silenced["exchanges"][number][side]["out"]
            for name in ("kernel", "bias"):
                out[name] = out[name].replace(np.zeros(out[name].shape, np.float32))
        features = jax.device_get(run(silenced))
        assert np.abs(features.pooled - whole.pooled).max() > 1e-3
        for stage, stride in enumerate((4, 8, 16, 32)):
            changed = np.abs(features.maps[stride] - whole.maps[stride]).max() > 1e-3
            assert changed == (stage >= number or stride == 16), (number, stride)


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


@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_map_nobody_reads_is_not_answered(output_stride):
    spec = dataclasses.replace(small_fusion.RESNET, output_stride=output_stride)
    answered = [e.to_map is not None for e in build(spec).exchanges]
    assert answered == [True, True, True, output_stride != 16]


def test_defaults_suit_a_small_model():
    def build_tiny():
        return create_model("tiny", num_classes=3, image_size=64, fusion="cross_attention")

    model = nnx.eval_shape(build_tiny)
    assert model.backbone.meets_after == (0, 1, 2)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    outputs = nnx.eval_shape(lambda m, x: m(x, train=False), model, images)
    assert outputs.logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(exchanges=5),
            "exchanges: expected 1 to 4, the number of stages of the ResNet, or a tuple of "
            "stage numbers, got 5.",
        ),
        (
            dict(exchanges="all"),
            "exchanges: expected 1 to 4, the number of stages of the ResNet, or a tuple of "
            "stage numbers, got 'all'.",
        ),
        *(
            (
                dict(exchanges=numbers),
                f"exchanges: expected stage numbers from 1 to 4 in increasing order, got "
                f"{numbers}.",
            )
            for numbers in ((), (0, 2), (2, 5), (3, 1), (2, 2), ("a",))
        ),
        (
            dict(
                exchanges=(1, 2),
                resnet=dataclasses.replace(small_fusion.RESNET, blocks=(1,) * 3),
            ),
            "exchanges: expected an exchange in the last stage, 3, because the ViT's map "
            "replaces that of this stage, got (1, 2).",
        ),
        (dict(context_stride=0), "context_stride: expected 1 px or more, got 0."),
        (dict(query_stride=-4), "query_stride: expected 1 px or more, got -4."),
        (
            dict(resnet=dataclasses.replace(small_fusion.RESNET, blocks=())),
            "resnet: expected a ResNet with stages, got one without (size 'r'). "
            "Choose r26, r50, r101 or r152.",
        ),
        (
            dict(vit=dataclasses.replace(SPEC, width=50, num_heads=5)),
            "vit.width: expected a multiple of 4 for the sincos table, got 50.",
        ),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError) as error:
        build(**options)
    text = str(error.value).partition("\n---")[0]
    assert text == f"fusion 'cross_attention': {message}"
