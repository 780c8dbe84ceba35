"""The product of 1x1 convolutions and its gradient equal numpy's in float64."""

import jax
import numpy as np
import pytest

from hybrid_jax.ops.matmul import matmul
from hybrid_jax.ops.platform import tracing_for


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
def test_matmul_and_its_gradients_equal_float64(monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 5, 7, 3)), rng.normal(size=(3, 11))
    weights = rng.normal(size=(2, 5, 7, 11))
    arrays = [a.astype(np.float32) for a in (x, kernel, weights)]
    value, (by_x, by_kernel) = jax.value_and_grad(
        lambda x, kernel: (matmul(x, kernel) * arrays[2]).sum(), argnums=(0, 1)
    )(*arrays[:2])
    np.testing.assert_allclose(value, ((x @ kernel) * weights).sum(), rtol=1e-4)
    np.testing.assert_allclose(by_x, weights @ kernel.T, atol=1e-5)
    rows, columns = x.reshape(-1, 3), weights.reshape(-1, 11)
    np.testing.assert_allclose(by_kernel, rows.T @ columns, atol=1e-4)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_forward_mode_gives_the_derivative(platform):
    rng = np.random.default_rng(0)
    x, dx = rng.normal(size=(2, 1, 2, 3, 5)).astype(np.float32)
    kernel, dkernel = rng.normal(size=(2, 5, 4)).astype(np.float32)
    with tracing_for(platform):
        _, derivative = jax.jvp(matmul, (x, kernel), (dx, dkernel))
    np.testing.assert_allclose(derivative, dx @ kernel + x @ dkernel, atol=1e-5)
