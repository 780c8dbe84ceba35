"""Cross-attention against numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from fresh_modules import fresh_state
from parameters import as_float64, random_like

from hybrid_jax.models.layers.cross_attention import CrossAttention
from hybrid_jax.specs import ViTSpec

SPEC = ViTSpec(width=24, num_heads=3)


def build(**options):
    return CrossAttention(SPEC, 24, 10, num_heads=3, rngs=nnx.Rngs(params=0), **options)


def test_cross_attention_equals_a_loop_over_heads():
    graph, state = nnx.split(nnx.eval_shape(build))
    state = random_like(state)
    rng = np.random.default_rng(0)
    x, context = rng.standard_normal((2, 5, 24)), rng.standard_normal((2, 7, 10))
    run = jax.jit(lambda state, x, context: nnx.merge(graph, state)(x, context))
    ours = run(state, jnp.float32(x), jnp.float32(context))
    pure = as_float64(state)
    query = x @ pure["query"]["kernel"] + pure["query"]["bias"]
    key = context @ pure["key"]["kernel"]
    value = context @ pure["value"]["kernel"] + pure["value"]["bias"]
    heads = []
    for head in range(3):
        at = slice(8 * head, 8 * head + 8)
        logits = query[..., at] @ key[..., at].transpose(0, 2, 1) / np.sqrt(8)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ value[..., at])
    expected = np.concatenate(heads, -1) @ pure["out"]["kernel"] + pure["out"]["bias"]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_silent_starts_at_zero_and_learns_at_once():
    def silent():
        return build(zero_init=True)

    graph, state = nnx.graphdef(nnx.eval_shape(silent)), fresh_state(silent)
    rng = np.random.default_rng(0)
    x, context = np.ones((1, 5, 24), "f4"), np.float32(rng.standard_normal((1, 7, 10)))

    def loss(state):
        return (nnx.merge(graph, state)(x, context) - 1.0).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(state)
    assert float(value) == -5 * 24
    assert np.abs(gradient["out"]["kernel"][...]).max() > 0.0
