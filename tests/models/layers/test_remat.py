"""Recomputed blocks: the same values, gradients and statistics from less that is kept."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import Literal
from parameters import names_and_leaves, random_like

from hybrid_jax.errors import UserError
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.specs import REMAT, ResNetSpec, ViTSpec

RESNET = ResNetSpec(blocks=(1,), width=32)
# The norm of `pre-activation` in the blocks of `batch` needs no kind of its own.
PARTS = {
    "batch": dataclasses.replace(RESNET, norm="batch"),
    "pre-activation": dataclasses.replace(RESNET, preactivation=True),
    "vit": ViTSpec(
        width=24, depth=2, num_heads=3, mlp_dim=40, patch_size=8, drop_path=0.3, dropout=0.1
    ),
}


def part(kind, remat):
    spec = dataclasses.replace(PARTS[kind], remat=remat)
    if kind == "vit":
        return ViT(spec, grid=(5, 4), rngs=nnx.Rngs(params=0))
    return ResNet(spec, rngs=nnx.Rngs(params=0))


def split(kind, remat):
    graph, *states = nnx.split(nnx.eval_shape(lambda: part(kind, remat)), nnx.Param, ...)
    return graph, *map(random_like, states)


def loss(graph, kind, params, rest, images):
    """Returns a number that depends on every output, and the statistics afterwards."""
    module = nnx.merge(graph, params, rest, copy=True)
    options = dict(key=jax.random.key(5)) if kind == "vit" else {}
    outputs = jax.tree.leaves(module(images, train=True, **options))
    total = sum(jnp.sin(y + 0.1).mean() for y in outputs)
    return total, nnx.state(module, nnx.Not(nnx.Param))


def images(hw=(40, 32)):
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.standard_normal((2, *hw, 3)), jnp.float32)


@functools.cache
def results(kind, remat):
    graph, params, rest = split(kind, remat)
    call = jax.value_and_grad(functools.partial(loss, graph, kind), has_aux=True)
    (total, statistics), gradient = jax.jit(call)(params, rest, images())
    named = {f"gradient of {n}": g for n, g in names_and_leaves(gradient).items()}
    return dict(total=total) | named | names_and_leaves(statistics), names_and_leaves(rest)


# Of "full", statistics are the hardest.
@pytest.mark.parametrize(
    ("remat", "kind"),
    [
        *(("dots", kind) for kind in PARTS),
        ("full", "batch"),
        *(
            pytest.param("full", kind, marks=pytest.mark.slow)
            for kind in ("pre-activation", "vit")
        ),
    ],
)
def test_values_gradients_and_statistics_are_the_same(kind, remat):
    expected, before = results(kind, "none")
    found, _ = results(kind, remat)
    assert found.keys() == expected.keys()
    assert bool(before) == (kind == "batch")
    assert not any(np.array_equal(found[name], before[name]) for name in before)
    for name, theirs in expected.items():  # the same sums, fused differently
        scale = float(np.abs(theirs).max())
        np.testing.assert_allclose(found[name], theirs, atol=1e-4 * scale + 1e-7)


def kept(kind, remat, *, platform):
    """Returns how many numbers the forward pass leaves, without the parameters."""
    graph, params, rest = split(kind, remat)

    def residuals(params):
        call = functools.partial(loss, graph, kind, rest=rest, images=images())
        return jax.tree.leaves(jax.vjp(lambda p: call(p)[0], params)[1])

    with tracing_for(platform):
        traced = jax.make_jaxpr(residuals)(params).jaxpr
    given = set(traced.invars)
    made = {v for v in traced.outvars if not isinstance(v, Literal)} - given
    return sum(math.prod(value.aval.shape) for value in made)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("kind", PARTS)
def test_less_is_kept_the_more_is_recomputed(kind, platform):
    none, dots, full = (kept(kind, remat, platform=platform) for remat in REMAT)
    assert full < 0.8 * dots
    assert dots < 0.7 * none


def test_a_loop_hands_on_products_alone(monkeypatch):
    unrolled = kept("vit", "none", platform="tpu")
    looped = dataclasses.replace(PARTS["vit"], block_loop="scan")
    monkeypatch.setitem(PARTS, "vit", looped)
    # Products alone; the stacked parameters are a fifth of it.
    assert kept("vit", "none", platform="tpu") < 0.6 * unrolled


def test_unknown_policy_is_one_line():
    expected = "ViTSpec.remat: expected one of 'none', 'dots', 'full', got True"
    with pytest.raises(UserError, match=expected):
        ViTSpec(remat=True)
