"""Blocks of a ViT as one loop: the outputs, gradients and taps of the unrolled form."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import names_and_leaves, random_like
from small_fusion import VIT, construct, example_images

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.vit.taps import recording
from hybrid_jax.programs.jaxprs import bodies

# Fusion -> lengths of the loops of ten blocks; none where each block has a bias of its own,
# only one is used, or there is no ViT.
IN_GROUPS = {"conformer", "cross_attention", "mobile_former", "vit_adapter", "vit_comer"}
LOOPS = dict.fromkeys(FUSIONS.names(), (10,))
LOOPS |= dict.fromkeys(IN_GROUPS, (2, 3, 2, 3))
LOOPS |= dict(sta=(4, 3, 3), botnet=(), resnet=(), rtdetr_encoder=(), stage_swap=())
VARIANTS = {
    "plain": dict(drop_path=0.0),
    # Every option that a block reads, and drop path.
    "rich": dict(dropout=0.1, positions="rope2d", layer_scale=0.1, num_register_tokens=2),
}


@functools.cache
def taken_apart(name, **vit):
    spec = dataclasses.replace(VIT, **(dict(depth=2) | vit))
    module = nnx.eval_shape(lambda: construct(FUSIONS.get(name), vit=spec))
    return nnx.split(module, nnx.Param, ...)


def loss_of(name, **vit):
    """Returns a function of (parameters, key) that depends on all features."""
    graph, _, rest = taken_apart(name, **vit)
    rest = random_like(rest)

    def loss(params, key):
        module = nnx.merge(graph, params, rest, copy=True)
        features = module(example_images(), train=True, key=key)
        return sum(jnp.sin(y + 0.1).mean() for y in jax.tree.leaves(features))

    return loss


@functools.cache
def gradients(name, **vit):
    params = random_like(taken_apart(name, **vit)[1])
    call = jax.value_and_grad(loss_of(name, **vit))
    total, gradient = jax.jit(call)(params, jax.random.key(5))
    return dict(total=total) | names_and_leaves(gradient)


def check_same(name, *, remat="none", **vit):
    expected = gradients(name, block_loop="unrolled", **vit)
    found = gradients(name, block_loop="scan", remat=remat, **vit)
    assert found.keys() == expected.keys()
    for parameter, theirs in expected.items():
        scale = float(np.abs(theirs).max())
        np.testing.assert_allclose(
            found[parameter], theirs, atol=2e-5 * scale + 1e-7, err_msg=parameter
        )


# Nothing is done to plain blocks that is not done to rich ones.
@pytest.mark.parametrize("variant", [pytest.param("plain", marks=pytest.mark.slow), "rich"])
def test_outputs_and_gradients_are_those_of_the_unrolled_form(variant):
    check_same("vit", **VARIANTS[variant])


# The policies themselves are compared in `test_remat.py`.
@pytest.mark.parametrize("remat", ["dots", pytest.param("full", marks=pytest.mark.slow)])
def test_recomputed_loops_have_the_gradients_of_the_unrolled_form(remat):
    check_same("vit", remat=remat, **VARIANTS["rich"])


def test_blocks_in_the_middle_have_their_own_keys_and_rates():
    found = []
    for block_loop in ("unrolled", "scan"):
        graph, params, rest = taken_apart("vit", depth=5, block_loop=block_loop)

        @jax.jit
        def run(params, rest, graph=graph):
            vit = nnx.merge(graph, params, rest).vit
            tokens = jax.random.normal(jax.random.key(1), (8, 6, VIT.width))
            return vit.run_blocks(range(1, 4), tokens, hw=(1, 5), key=jax.random.key(5))

        found.append(run(random_like(params), random_like(rest)))
    np.testing.assert_allclose(*found, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSIONS.names())
def test_every_fusion_has_the_same_gradients(name):
    check_same(name, depth=8 if name in IN_GROUPS else 4)


def lengths(name, **vit):
    """Returns the lengths of all loops, in order."""
    _, params, _ = taken_apart(name, **vit)
    traced = jax.make_jaxpr(loss_of(name, **vit))(params, jax.random.key(0))

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "scan":
                yield equation.params["length"]
            for body in bodies(equation.params.values()):
                yield from walk(body)

    return tuple(walk(traced.jaxpr))


@pytest.mark.parametrize("name", FUSIONS.names())
def test_runs_of_blocks_are_loops(name):
    assert lengths(name, depth=10, block_loop="scan") == LOOPS[name]


def test_blocks_are_unrolled_by_default():
    assert lengths("vit") == ()


def test_a_single_block_is_no_loop():
    assert lengths("vit", depth=1, block_loop="scan") == ()


def test_taps_between_the_blocks_are_those_of_the_unrolled_form():
    found = []
    for block_loop in ("unrolled", "scan"):
        graph, params, rest = taken_apart("vit", block_loop=block_loop)

        @jax.jit
        def run(params, rest, graph=graph):
            with recording((1, 0)) as taps:
                module = nnx.merge(graph, params, rest)
                features = module(example_images(), train=False)
            hw = example_images().shape[1:3]
            return taps.features(image_hw=hw, strides=features.maps)

        blocks = run(random_like(params), random_like(rest))
        found.append([block.map for block in blocks])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_loops_compute_in_the_dtype_of_the_spec():
    graph, params, rest = taken_apart("vit", block_loop="scan", dtype="bfloat16")
    features = jax.eval_shape(
        lambda params: nnx.merge(graph, params, rest)(example_images()), params
    )
    assert features.pooled.dtype == jnp.bfloat16


def test_unknown_loop_is_one_line():
    expected = "ViTSpec.block_loop: expected one of 'unrolled', 'scan', got True"
    with pytest.raises(UserError, match=expected):
        dataclasses.replace(VIT, block_loop=True)
