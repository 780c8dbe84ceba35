"""`vit_adapter`: who reads whom, where and when, by its pieces and by what moves what."""

import dataclasses

import float64_reference as reference
import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax import create_model
from hybrid_jax.errors import UserError
from hybrid_jax.models.adapters.adapter_options import groups_of_blocks
from hybrid_jax.models.adapters.conv_ffn import ConvFFN
from hybrid_jax.models.fusions.vit_adapter import ViTAdapter
from hybrid_jax.models.layers.token_pyramid import to_maps

SHAPES = {8: (3, 5), 16: (2, 3), 32: (1, 2)}


class Stem(ViTAdapter):
    """With the light prior for the guarantees, and one exchange, which compiles fast."""

    def __init__(self, *specs, image_size, rngs):
        options = dict(prior="stem", num_interactions=1, extra=0)
        super().__init__(*specs, image_size=image_size, rngs=rngs, **options)


def build(*, resnet=small_fusion.RESNET, vit=small_fusion.VIT, **options):
    return ViTAdapter(resnet, vit, image_size=(64, 96), rngs=nnx.Rngs(params=0), **options)


def shapes_of(**options):
    return nnx.eval_shape(lambda: build(**options))


def test_features_equal_the_wiring_written_out():
    """The formula, line by line, from the fusion's own modules and numpy where new."""
    vit = dataclasses.replace(small_fusion.VIT, depth=3)
    module = shapes_of(vit=vit, num_interactions=2, extra=1)
    graph, params = nnx.split(module)
    params = random_like(params)
    images = small_fusion.example_images((33, 65))
    shapes = {8: (5, 9), 16: (3, 5), 32: (2, 3)}

    def centers(stride):
        h, w = shapes[stride]
        return np.array(
            [((j + 0.5) * stride, (i + 0.5) * stride) for i in range(h) for j in range(w)]
        )

    def read(attention, queries, at, maps):
        return attention(queries, jnp.asarray(at, jnp.float32), maps)

    @jax.jit
    def forward(params, images):
        m = nnx.merge(graph, params)
        vit = m.vit
        given = m.resnet(images, train=False)
        c = {}
        for index, (stride, projection) in enumerate(
            zip(given, m.prior.projections, strict=True)
        ):
            c[stride] = given[stride] @ projection.kernel[0, 0]
            if index:
                c[stride] += m.prior.level_embedding[index - 1]
        c4 = c.pop(4)
        tokens, hw = vit.embed_map(images)
        at_c = np.concatenate([centers(stride) for stride in shapes])
        c = jnp.concatenate([x.reshape(2, -1, 48) for x in c.values()], axis=1)
        used = iter(m.extractors)
        for injector, blocks, extractors in zip(
            m.injectors, ((0,), (1, 2)), (1, 2), strict=True
        ):
            ends = np.cumsum([h * w for h, w in shapes.values()])[:-1]
            levels = {
                stride: injector.norm_prior(x).reshape(2, *shapes[stride], 48)
                for stride, x in zip(shapes, jnp.split(c, ends, axis=1), strict=True)
            }
            y = read(injector.attention, injector.norm(tokens[:, 1:]), centers(16), levels)
            tokens = tokens.at[:, 1:].add(y * injector.scale.gamma[...])
            for index in blocks:
                tokens = vit.run_block(index, tokens, hw=hw)
            for _ in range(extractors):
                extract = next(used)
                z = {16: extract.norm_vit(tokens[:, 1:]).reshape(2, *hw, 48)}
                c += read(extract.attention, extract.norm(c), at_c, z)
                c += extract.ffn(extract.norm_ffn(c), shapes)
        maps = {4: c4} | to_maps(c, shapes)
        maps = m.join(maps, vit.norm(tokens)[:, 1:].reshape(2, *hw, 48), train=False)
        return m(images), maps, vit.norm(tokens)[:, 0]

    features, maps, pooled = forward(params, images)
    np.testing.assert_allclose(features.pooled, pooled, atol=1e-5)
    assert list(features.maps) == [4, 8, 16, 32]
    for stride, expected in maps.items():
        np.testing.assert_allclose(features.maps[stride], expected, atol=1e-4)


def test_conv_ffn_equals_a_loop_over_cells():
    spec = dataclasses.replace(small_fusion.VIT, width=6)
    graph, state = nnx.split(ConvFFN(spec, hidden_dim=5, rngs=nnx.Rngs(params=0)))
    state = random_like(state)
    p = as_float64(state)
    rng = np.random.default_rng(0)
    maps = {stride: rng.standard_normal((2, *hw, 6)) for stride, hw in SHAPES.items()}
    tokens = np.concatenate([x.reshape(2, -1, 6) for x in maps.values()], axis=1)
    expected = []
    for (h, w), x in zip(SHAPES.values(), maps.values(), strict=True):
        x = x @ p["fc1"]["kernel"] + p["fc1"]["bias"]
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = np.zeros((2, h, w, 5))
        for i, j, a, b in np.ndindex(h, w, 3, 3):
            y[:, i, j] += x[:, i + a, j + b] * p["conv"]["kernel"][a, b, 0]
        expected.append((y + p["conv"]["bias"]).reshape(2, -1, 5))
    expected = reference.gelu(np.concatenate(expected, axis=1), "tanh")
    expected = expected @ p["fc2"]["kernel"] + p["fc2"]["bias"]
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x, SHAPES))
    ours = run(state, jnp.asarray(tokens, jnp.float32))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "groups", "sizes"),
    [
        (12, 4, [3, 3, 3, 3]),
        (4, 3, [1, 1, 2]),
        (24, 4, [6] * 4),
        (3, 3, [1] * 3),
        (3, 1, [3]),
        (12, None, [3, 3, 3, 3]),
        (2, None, [1, 1]),
    ],
)
def test_groups_hold_every_block_once_in_order(depth, groups, sizes):
    ranges = groups_of_blocks("vit_adapter", depth, groups)
    assert [index for group in ranges for index in group] == list(range(depth))
    assert [len(group) for group in ranges] == sizes


def test_stem_prior_keeps_the_promises_and_builds_no_stages():
    guarantees.check_contract(Stem, hw=(97, 131))
    guarantees.check_everything_is_read(Stem, hw=(97, 131))
    guarantees.check_names_are_stable(Stem)
    module = small_fusion.build(Stem).module
    assert not any(
        name.startswith("resnet.stages") for name in names_and_leaves(nnx.state(module))
    )
    assert [conv.conv.kernel.shape[-1] for conv in module.prior.coarser_convs] == [
        64,
        128,
        128,
    ]


@pytest.mark.slow  # that everything is read is tested above; the default prior's by name
def test_gradient_reaches_all_of_the_stem_prior():
    guarantees.check_gradient_reaches_everything(Stem)


@pytest.mark.slow  # the injectors are silent whatever the prior is: tested by name
def test_stem_prior_starts_as_the_vit():
    guarantees.check_starts_as_its_donor(Stem)


@pytest.mark.parametrize(
    ("patch_size", "options"),
    [
        (4, dict(num_interactions=1)),
        (8, dict(num_interactions=3, extra=0)),
        (32, dict(num_interactions=1)),
    ],
)
def test_other_groups_and_patches_give_the_same_strides(options, patch_size):
    vit = dataclasses.replace(small_fusion.VIT, patch_size=patch_size)
    module = shapes_of(vit=vit, **options)
    images = jax.ShapeDtypeStruct((1, 97, 131, 3), jnp.float32)
    features = nnx.eval_shape(lambda m, x: m(x), module, images)
    expected = {4: (25, 33), 8: (13, 17), 16: (7, 9), 32: (4, 5)}
    assert {s: x.shape[1:3] for s, x in features.maps.items()} == expected


def test_defaults_suit_a_small_model():
    def build_tiny():
        return create_model("tiny", num_classes=3, image_size=64, fusion="vit_adapter")

    model = nnx.eval_shape(build_tiny)
    assert model.backbone.groups == (range(0, 1), range(1, 2))
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    outputs = nnx.eval_shape(lambda m, x: m(x, train=False), model, images)
    assert outputs.logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(prior="fpn"), "prior: expected one of ('resnet', 'stem'), got 'fpn'."),
        (
            dict(num_interactions=5),
            "num_interactions: expected 1 to 4, the number of blocks of the ViT, got 5.",
        ),
        (
            dict(num_interactions=0),
            "num_interactions: expected 1 to 4, the number of blocks of the ViT, got 0.",
        ),
        (
            dict(num_interactions="two"),
            "num_interactions: expected 1 to 4, the number of blocks of the ViT, "
            "got 'two'.",
        ),
        (dict(extra=-1), "extra: expected 0 or more, got -1."),
        (dict(num_points=0), "num_points: expected 1 or more, got 0."),
        (
            dict(deform_ratio=0.4),
            "deform_ratio: expected a fraction of the width 48 that gives a multiple of "
            "the 3 heads, got 0.4.",
        ),
        (
            dict(ffn_ratio=0.0),
            "ffn_ratio: expected a fraction of the width 48 that gives at least 1 hidden "
            "unit, got 0.0.",
        ),
        (
            dict(sampling="cubic"),
            "sampling: expected one of ('bilinear', 'discrete'), got 'cubic'.",
        ),
        (
            dict(vit=dataclasses.replace(small_fusion.VIT, patch_size=14)),
            "vit.patch_size: expected one of the strides (4, 8, 16, 32) of its maps, got "
            "14.",
        ),
        (
            dict(resnet=dataclasses.replace(small_fusion.RESNET, blocks=())),
            "prior: expected a ResNet with maps at two or more strides, got blocks () with "
            "output stride 32; choose r26 or r50, or prior='stem'.",
        ),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError) as error:
        build(**options)
    assert str(error.value) == f"fusion 'vit_adapter': {message}"
