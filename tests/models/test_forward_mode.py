"""A whole model on a CPU can be differentiated forwards, and twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_fusion
from parameters import random_like

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.specs import ResNetSpec, ViTSpec

RESNET = ResNetSpec(blocks=(1, 1, 1), width=32)
VIT = ViTSpec(width=48, depth=1, num_heads=3, mlp_dim=80)


@pytest.mark.slow
def test_jvp_and_hessian_of_a_model_equal_its_gradients():
    built = small_fusion.build(FUSIONS.get("sequential"), resnet=RESNET, vit=VIT)
    params = random_like(built.params)
    images = jax.random.normal(jax.random.key(1), (1, 16, 16, 3))

    def value(along):
        with tracing_for("cpu"):
            moved = jax.tree.map(lambda p: p * (1 + along), params)
            return jnp.mean(jnp.sin(built.apply(moved, images).pooled))

    @jax.jit
    def derivatives(t):
        forwards = jax.jvp(value, (t,), (jnp.ones(()),))[1], jax.hessian(value)(t)
        gradient = jax.grad(value)
        return forwards, (gradient(t), jax.grad(gradient)(t))

    forwards, backwards = derivatives(jnp.zeros(()))
    np.testing.assert_allclose(forwards, backwards, rtol=1e-2)
