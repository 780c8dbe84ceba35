"""Grad-CAM: its weights against finite differences of the score, its sum by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_hybrid import example_images, small_hybrid

from hybrid_jax.explaining.methods.class_score import class_score
from hybrid_jax.explaining.methods.grad_cam import grad_cam, grad_cam_weights
from hybrid_jax.explaining.observed_model import run_observed

CLASSES = jnp.array([2, 0], jnp.int32)
STEP = 0.02  # small against maps of order one, large against rounding of float32


@pytest.fixture(scope="module")
def scored():
    """(score of shifts, the gradients of its sum) of a hybrid whose halves are coupled."""
    graph, state = small_hybrid("conformer")
    images = example_images()[:, :48, :32]

    @jax.jit
    def score(shifts):
        seen = run_observed(graph, state, images, shifts=shifts)
        return class_score(seen.outputs, CLASSES)

    shapes = jax.eval_shape(lambda: run_observed(graph, state, images).maps)
    zeros = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
    return score, zeros, jax.jit(jax.grad(lambda shifts: score(shifts).sum()))(zeros)


@pytest.mark.parametrize("name", ["stage1", "stage3", "tokens"])
def test_weights_are_the_slope_of_the_score(scored, name):
    score, zeros, gradients = scored
    weights = np.asarray(grad_cam_weights(gradients[name]))
    cells = np.prod(zeros[name].shape[1:-1])
    assert (np.abs(weights) > 0).any()
    # The channels that matter most: of others, rounding is a large part.
    for channel in np.argsort(-np.abs(weights).sum(0))[:3]:
        shift = zeros[name].at[..., channel].set(STEP)
        up, down = (score(zeros | {name: sign * shift}) for sign in (1.0, -1.0))
        slope = (np.asarray(up, np.float64) - np.asarray(down)) / (2 * STEP) / cells
        scale = np.abs(weights[:, channel]).max()
        np.testing.assert_allclose(weights[:, channel], slope, atol=0.03 * scale)


def test_map_is_the_positive_part_of_the_weighted_sum():
    rng = np.random.default_rng(0)
    features, gradient = rng.standard_normal((2, 2, 3, 4, 5))
    found = np.asarray(grad_cam(jnp.asarray(features), jnp.asarray(gradient)))
    for b in range(2):
        for y in range(3):
            for x in range(4):
                total = sum(
                    gradient[b, :, :, k].mean() * features[b, y, x, k] for k in range(5)
                )
                assert found[b, y, x] == pytest.approx(max(total, 0.0), abs=1e-5)
    assert (found > 0).any()
    assert (found == 0).any()
