"""Attention rollout against a loop over tokens, and where a model is read."""

import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_jax.explaining.methods.attention_maps import rollout_on_image
from hybrid_jax.explaining.methods.rollout import rollout
from hybrid_jax.explaining.token_layout import Layout

B, HEADS, PREFIX = 2, 3, 1
LAYOUT = Layout((8, 12), (4,), PREFIX)  # 2 x 3 cells
COARSE = Layout((8, 12), (8,), PREFIX)  # 1 x 2 cells, the second one half as wide


def random_weights(count, *, seed):
    logits = np.random.default_rng(seed).standard_normal((B, HEADS, count, count)) * 2
    weights = np.exp(logits)
    return weights / weights.sum(-1, keepdims=True)


def rollout_by_hand(blocks):
    """The share of every token of the image in every last token, one path at a time."""
    count = blocks[0].shape[-1]
    shares = [np.eye(count) for _ in range(B)]
    for weights in blocks:
        for b in range(B):
            new = np.zeros((count, count))
            for to in range(count):
                for by in range(count):
                    mean = sum(weights[b, head, to, by] for head in range(HEADS)) / HEADS
                    kept = 0.5 * mean + (0.5 if to == by else 0.0)
                    new[to] += kept * shares[b][by]
            shares[b] = new
    return np.stack(shares)


def test_rollout_equals_the_loop():
    blocks = [random_weights(LAYOUT.count, seed=seed) for seed in range(3)]
    found = rollout([jnp.asarray(block, jnp.float32) for block in blocks])
    np.testing.assert_allclose(found, rollout_by_hand(blocks), atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-6)


def test_rollout_goes_through_a_coarser_grid():
    fine, coarse = random_weights(7, seed=0), random_weights(3, seed=1)
    bridge = LAYOUT.coarser(COARSE)
    by_hand = [
        (0.5 * coarse[b].mean(0) + 0.5 * np.eye(3))
        @ bridge
        @ (0.5 * fine[b].mean(0) + 0.5 * np.eye(7))
        for b in range(B)
    ]
    found = rollout([jnp.asarray(fine), jnp.asarray(coarse)], bridges=[None, bridge])
    np.testing.assert_allclose(found, by_hand, atol=1e-6)


@pytest.mark.parametrize("kind", ["class token", "mean", "probe"])
def test_rollout_is_read_where_the_model_reads(kind):
    blocks = [random_weights(LAYOUT.count, seed=seed) for seed in range(2)]
    total = rollout_by_hand(blocks)
    probe = None
    if kind == "probe":
        probe = np.full((B, HEADS, 1, 6), 0.1)
        probe[..., 2] = 0.5
        row = np.einsum("n,bnm->bm", probe[0, 0, 0], total[:, PREFIX:])
    else:
        row = total[:, 0] if kind == "class token" else total[:, PREFIX:].mean(1)
    found = rollout_on_image(
        [jnp.asarray(block) for block in blocks],
        [LAYOUT, LAYOUT],
        probe=None if probe is None else jnp.asarray(probe),
        has_cls=kind == "class token",
    )
    assert found.stride == 4
    expected = row[:, PREFIX:].reshape(B, 2, 3)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
