"""Every merge against its formula in numpy, as the plain ViT at first, and trainable."""

import dataclasses

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from flax import nnx
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions.dual_embed import MERGES, DualEmbed
from hybrid_jax.ops.positions import sincos2d
from hybrid_jax.specs import ResNetSpec, ViTSpec

SPEC = ViTSpec(width=24, num_heads=3)
HW = (2, 3)


@pytest.mark.parametrize("merge", MERGES)
def test_every_merge_starts_as_the_vit(merge):
    resnet = ResNetSpec(blocks=(1,), width=32)
    vit = dataclasses.replace(SPEC, depth=1, mlp_dim=40, patch_size=8)
    fusion = nnx.eval_shape(lambda: DualEmbed(resnet, vit, merge=merge, **_size((24, 32))))
    # Whatever weights everything holds; only the merge is fresh.
    graph, state = nnx.split(fusion)
    fusion = nnx.merge(graph, random_like(state))
    fusion.merge = MERGES[merge](vit, rngs=nnx.Rngs(params=0))
    images = small_fusion.example_images((24, 32))

    @nnx.jit
    def both(fusion, images):
        return fusion(images), fusion.vit(images, train=False)

    features, (tokens, pooled) = both(fusion, images)
    np.testing.assert_allclose(features.maps[8], tokens, atol=1e-6)
    np.testing.assert_allclose(features.pooled, pooled, atol=1e-6)


@pytest.mark.parametrize("merge", MERGES)
def test_gradient_reaches_every_parameter_of_every_merge(merge):
    graph, state = nnx.split(MERGES[merge](SPEC, rngs=nnx.Rngs(params=0)))
    u, c, reading = jnp.float32(np.random.default_rng(0).standard_normal((3, 2, 6, 24)))

    def loss(state):
        return jnp.vdot(nnx.merge(graph, state)(u, c, hw=HW), reading)

    slope = jax.jit(jax.grad(loss))
    assert any(np.abs(g).max() > 1e-3 for g in jax.tree.leaves(slope(state)))
    for name, gradient in names_and_leaves(slope(random_like(state))).items():
        assert np.linalg.norm(gradient) > 1e-3, name


def _linear(x, p):
    return x @ p["kernel"] + p.get("bias", 0.0)


def _reference(merge, u, c, p):
    both = np.concatenate([u, c], -1)
    if merge == "add":
        return _linear(c, p["out"])
    if merge == "concat":
        return _linear(both, p["out"])
    if merge == "gated":
        return _linear(c, p["out"]) / (1.0 + np.exp(-_linear(both, p["gate"])))
    table = sincos2d(HW, 24).reshape(6, 24).astype(np.float64)
    p, query = p["attention"], reference.layer_norm(u, p["norm"]) + table
    query, key, value = (
        _linear(x, p[name]).reshape(2, 6, 3, 8)
        for name, x in (("query", query), ("key", c + table), ("value", c + table))
    )
    out = reference.attend(query, key, value).reshape(2, 6, 24)
    return _linear(out, p["out"])


@pytest.mark.parametrize("merge", MERGES)
def test_merge_equals_its_formula(merge):
    graph, state = nnx.split(MERGES[merge](SPEC, rngs=nnx.Rngs(params=0)))
    state = random_like(state)
    rng = np.random.default_rng(0)
    u, c = rng.standard_normal((2, 2, 6, 24))
    run = jax.jit(lambda state, u, c: nnx.merge(graph, state)(u, c, hw=HW))
    ours = run(state, jnp.float32(u), jnp.float32(c))
    np.testing.assert_allclose(ours, _reference(merge, u, c, as_float64(state)), atol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "output_stride", "patch_size", "read"),
    [
        ((1, 1, 1, 1), 32, 16, 16),
        ((1, 1, 1, 1), 32, 32, 32),
        ((1, 1), 32, 16, 8),
        ((), 32, 16, 4),
        ((1, 1, 1, 1), 8, 16, 8),
        ((1, 1, 1, 1), 32, 12, 4),
        ((1, 1, 1, 1), 32, 2, 4),
    ],
)
def test_reads_the_map_nearest_to_the_patch_stride(blocks, output_stride, patch_size, read):
    resnet = ResNetSpec(blocks=blocks, width=32, output_stride=output_stride)
    vit = ViTSpec(width=24, depth=1, num_heads=3, mlp_dim=40, patch_size=patch_size)

    def run(images):
        fusion = DualEmbed(resnet, vit, image_size=(32, 48), rngs=nnx.Rngs(params=0))
        assert fusion.source == read
        features = fusion(images)
        assert fusion.channels == {s: m.shape[-1] for s, m in features.maps.items()}
        return features

    features = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 37, 50, 3), jnp.float32))
    expected = (1, -(-37 // patch_size), -(-50 // patch_size), 24)
    assert features.maps[patch_size].shape == expected


def test_a_patch_reads_its_own_cells_of_a_finer_map():
    # Two stages only, so that a stride-8 map is pooled 2 x 2 into patches of 16 px.
    resnet = ResNetSpec(blocks=(1, 1), width=32)
    fusion = nnx.eval_shape(lambda: DualEmbed(resnet, small_fusion.VIT, **_size((40, 56))))
    graph, state = nnx.split(fusion)
    state = random_like(state)

    @jax.jit
    def run(state, images):
        seen = []

        def spy(patches, cells, *, hw):
            seen.append(cells)
            return jnp.zeros_like(patches)

        fusion = nnx.merge(graph, state)
        fusion.merge = spy
        return fusion(images).maps[8], seen[0]

    cells, read = map(np.asarray, run(state, small_fusion.example_images((40, 56))))
    pure = as_float64(state)
    means = [
        [cells[:, i : i + 2, j : j + 2].mean((1, 2)) for j in range(0, 7, 2)]
        for i in range(0, 5, 2)
    ]
    means = np.asarray(means).reshape(12, 2, -1).transpose(1, 0, 2)
    expected = reference.layer_norm(_linear(means, pure["project"]), pure["norm"])
    np.testing.assert_allclose(read, expected, atol=1e-4)


def _size(hw):
    return dict(image_size=hw, rngs=nnx.Rngs(params=0))


@pytest.mark.parametrize(
    ("options", "vit", "message"),
    [
        (
            dict(merge="sum"),
            {},
            "fusion 'dual_embed': merge: expected one of 'add', 'concat', 'gated', "
            "'cross_attention', got 'sum'.",
        ),
        (
            {},
            dict(patch_size=14),
            "fusion 'dual_embed': vit.patch_size: expected a multiple or a divisor of "
            "one of the ResNet's strides (4, 8, 16, 32), got 14.",
        ),
        (
            dict(merge="cross_attention"),
            dict(width=50, num_heads=5),
            "fusion 'dual_embed': vit.width: expected a multiple of 4 for the sincos "
            "table of merge='cross_attention', got 50.",
        ),
    ],
)
def test_bad_options_are_one_line(options, vit, message):
    spec = ViTSpec(**(dict(width=24, depth=1, num_heads=3, mlp_dim=40) | vit))
    with pytest.raises(UserError) as error:
        nnx.eval_shape(
            lambda: DualEmbed(small_fusion.RESNET, spec, **_size((64, 96)), **options)
        )
    assert str(error.value).partition("\n---")[0] == message
