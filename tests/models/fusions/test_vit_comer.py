"""`vit_comer`: its multi-receptive levels against numpy, and who moves whom."""

import dataclasses

import float64_reference as reference
import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from flax import nnx
from parameters import as_float64, random_like

from hybrid_jax import create_model
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.vit_comer import MRFP, ViTCoMer
from hybrid_jax.models.layers.conv_norm import NormSpec
from hybrid_jax.models.layers.token_pyramid import to_maps, to_tokens
from hybrid_jax.ops.rescale import average_pool, upsample

SHAPES = {8: (3, 5), 16: (2, 3)}


class Stem(ViTCoMer):
    """With the light prior for the guarantees, and one exchange, which compiles fast."""

    def __init__(self, *specs, image_size, rngs):
        options = dict(prior="stem", num_interactions=1, extra=0)
        super().__init__(*specs, image_size=image_size, rngs=rngs, **options)


def build(*, resnet=small_fusion.RESNET, vit=small_fusion.VIT, **options):
    return ViTCoMer(resnet, vit, image_size=(64, 96), rngs=nnx.Rngs(params=0), **options)


def test_mrfp_equals_a_loop_over_taps():
    vit = dataclasses.replace(small_fusion.VIT, width=8, num_heads=2)
    module = MRFP(NormSpec(), vit, tuple(SHAPES), ratio=1.0, rngs=nnx.Rngs(params=0))
    graph, state = nnx.split(module)
    state = random_like(state)
    p = as_float64(state)
    rng = np.random.default_rng(0)
    c = rng.standard_normal((2, 15 + 6, 8))
    normed = (c - c.mean(-1, keepdims=True)) / np.sqrt(c.var(-1, keepdims=True) + 1e-6)
    normed = normed * p["norm"]["scale"] + p["norm"]["bias"]
    hidden = np.split(normed @ p["fc1"]["kernel"][0, 0], [15], axis=1)
    mixed = []
    for index, ((h, w), x) in enumerate(zip(SHAPES.values(), hidden, strict=True)):
        halves = []
        for name, half, side in (("near", x[..., :4], 3), ("far", x[..., 4:], 5)):
            branch, rim = p[name][index], side // 2
            half = np.pad(
                half.reshape(2, h, w, 4), ((0, 0), (rim, rim), (rim, rim), (0, 0))
            )
            y = np.zeros((2, h, w, 4))
            for i, j, a, b in np.ndindex(h, w, side, side):
                y[:, i, j] += half[:, i + a, j + b] * branch["conv"]["kernel"][a, b, 0]
            y = reference.group_norm(y, branch["norm"], eps=1e-6, groups=1)
            halves.append(reference.gelu(y, "tanh").reshape(2, h * w, 4))
        mixed.append(np.concatenate(halves, axis=-1))
    mixed = np.concatenate(mixed, axis=1)
    expected = c + mixed @ p["fc2"]["kernel"] + p["fc2"]["bias"]
    run = jax.jit(lambda state, c: nnx.merge(graph, state)(c, SHAPES, train=False))
    np.testing.assert_allclose(run(state, jnp.float32(c)), expected, atol=2e-5)


# A second interaction goes through the same lines; that all of its modules are read is
# tested by the fusion's name, and the order of several in `test_vit_adapter.py`.
@pytest.mark.parametrize(
    ("groups", "extractions"),
    [
        (((0, 1),), (2,)),
        pytest.param(((0,), (1, 2)), (1, 2), marks=pytest.mark.slow),
    ],
)
def test_features_equal_the_wiring_written_out(groups, extractions):
    """The formula, line by line, from the fusion's own modules."""
    vit = dataclasses.replace(small_fusion.VIT, depth=1 + groups[-1][-1])
    options = dict(num_interactions=len(groups), extra=1)
    module = nnx.eval_shape(lambda: build(vit=vit, **options))
    graph, params = nnx.split(module)
    params = random_like(params)
    images = small_fusion.example_images((33, 65))
    shapes = {8: (5, 9), 16: (3, 5), 32: (2, 3)}
    at_px = np.array(
        [
            ((j + 0.5) * stride, (i + 0.5) * stride)
            for stride, (h, w) in shapes.items()
            for i in range(h)
            for j in range(w)
        ],
        np.float32,
    )

    @jax.jit
    def forward(params, images):
        m = nnx.merge(graph, params)
        vit = m.vit

        def mixed(mix, c, tokens):
            levels = to_maps(c, shapes)
            levels[16] += tokens[:, 1:].reshape(2, 3, 5, 48)
            c = to_tokens(levels)
            levels = to_maps(mix.norm(c), shapes)
            c += mix.attention(mix.norm(c), at_px, levels)
            return c + mix.ffn(mix.norm_ffn(c), shapes)

        c = m.prior(m.resnet(images, train=False), train=False)
        c4 = c.pop(4)
        c = to_tokens(c)
        tokens, hw = vit.embed_map(images)
        used = iter(m.to_levels)
        for number, (blocks, mixes) in enumerate(zip(groups, extractions, strict=True)):
            c = m.mrfp[number](c, shapes, train=False)
            u = to_maps(mixed(m.to_vit[number], c, tokens), shapes)
            total = average_pool(u[8], factor=2) + u[16] + upsample(u[32], hw, factor=2)
            gamma = m.scales[number].gamma[...]
            tokens = tokens.at[:, 1:].add(gamma * total.reshape(2, -1, 48))
            for index in blocks:
                tokens = vit.run_block(index, tokens, hw=hw)
            for _ in range(mixes):
                c = mixed(next(used), c, tokens)
        z = vit.norm(tokens)
        maps = {4: c4} | to_maps(c, shapes)
        maps = m.join(maps, z[:, 1:].reshape(2, *hw, 48), train=False)
        return m(images), maps, z[:, 0]

    features, maps, pooled = forward(params, images)
    np.testing.assert_allclose(features.pooled, pooled, atol=1e-5)
    for stride, expected in maps.items():
        np.testing.assert_allclose(features.maps[stride], expected, atol=1e-4)


def test_stem_prior_keeps_the_promises():
    guarantees.check_contract(Stem, hw=(97, 131))
    guarantees.check_everything_is_read(Stem, hw=(97, 131))
    guarantees.check_names_are_stable(Stem)


@pytest.mark.slow  # that everything is read is tested above; the default prior's by name
def test_gradient_reaches_all_of_the_stem_prior():
    guarantees.check_gradient_reaches_everything(Stem)


@pytest.mark.parametrize("patch_size", [8, 32])
def test_other_patches_and_a_dilated_resnet_give_the_resnets_strides(patch_size):
    vit = dataclasses.replace(small_fusion.VIT, patch_size=patch_size)
    output_stride = 32 if patch_size == 32 else 16
    resnet = dataclasses.replace(small_fusion.RESNET, output_stride=output_stride)
    module = nnx.eval_shape(
        lambda: build(vit=vit, resnet=resnet, num_interactions=3, extra=0)
    )
    images = jax.ShapeDtypeStruct((1, 97, 131, 3), jnp.float32)
    features = nnx.eval_shape(lambda m, x: m(x), module, images)
    expected = {4: (25, 33), 8: (13, 17), 16: (7, 9), 32: (4, 5)}
    expected = {s: hw for s, hw in expected.items() if s <= output_stride}
    assert {s: x.shape[1:3] for s, x in features.maps.items()} == expected


def test_defaults_suit_a_small_model():
    def build_tiny():
        return create_model("tiny", num_classes=3, image_size=64, fusion="vit_comer")

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
            dict(num_interactions=9),
            "num_interactions: expected 1 to 4, the number of blocks of the ViT, got 9.",
        ),
        (dict(extra=-1), "extra: expected 0 or more, got -1."),
        (
            dict(mrfp_ratio=0.01),
            "mrfp_ratio: expected a fraction of the width 48 that gives at least 2 hidden "
            "units, got 0.01.",
        ),
        (
            dict(vit=dataclasses.replace(small_fusion.VIT, patch_size=4)),
            "vit.patch_size: expected one of the strides (8, 16, 32) of its levels, got 4.",
        ),
        (
            dict(resnet=dataclasses.replace(small_fusion.RESNET, output_stride=4)),
            "prior: expected a ResNet with maps at two or more strides, got blocks "
            "(1, 1, 1, 1) with output stride 4; choose r26 or r50, or prior='stem'.",
        ),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError) as error:
        build(**options)
    assert str(error.value) == f"fusion 'vit_comer': {message}"
