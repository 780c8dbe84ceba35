"""A whole model on a CPU can be differentiated forwards, and twice."""

import jax
import jax.numpy as jnp
import numpy as np
import small_fusion
from parameters import random_like

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.specs import ResNetSpec, ViTSpec

RESNET = ResNetSpec(blocks=(1, 1, 1), width=32)
VIT = ViTSpec(width=48, depth=1, heads=3, mlp_dim=80)


def test_jvp_and_hessian_of_a_model_equal_those_of_the_plain_forms():
    built = small_fusion.build(FUSIONS.get("sequential"), resnet=RESNET, vit=VIT)
    params = random_like(built.params)
    images = jax.random.normal(jax.random.key(1), (1, 16, 16, 3))

    def derivatives(platform):
        def value(along):
            with tracing_for(platform):
                moved = jax.tree.map(lambda p: p * (1 + along), params)
                return jnp.mean(jnp.square(built.apply(moved, images).pooled))

        start, ones = jnp.zeros(()), jnp.ones(())
        run = jax.jit(lambda t: (jax.jvp(value, (t,), (ones,))[1], jax.hessian(value)(t)))
        return run(start)

    np.testing.assert_allclose(derivatives("cpu"), derivatives("tpu"), rtol=1e-3)
