"""The product of linear layers and its gradient equal numpy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.ops.matmul import dot_general, matmul
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


def test_matmul_on_cpus_has_second_derivatives_and_forward_mode():
    rng = np.random.default_rng(0)
    shapes = [(1, 1, 2, 3), (3, 2), (3, 2)]
    x, kernel, d = (rng.normal(size=shape).astype(np.float32) for shape in shapes)

    def value(product):
        return lambda kernel: jnp.sum(jnp.tanh(product(x, kernel)))

    for derivative in (
        lambda f: jax.jvp(f, (kernel,), (d,))[1],
        lambda f: jax.jit(jax.hessian(f))(kernel),
    ):
        ours, plain = derivative(value(matmul)), derivative(value(jnp.matmul))
        np.testing.assert_allclose(ours, plain, atol=1e-5)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_forward_mode_gives_the_derivative(platform):
    rng = np.random.default_rng(0)
    x, dx = rng.normal(size=(2, 1, 2, 3, 5)).astype(np.float32)
    kernel, dkernel = rng.normal(size=(2, 5, 4)).astype(np.float32)
    with tracing_for(platform):
        _, derivative = jax.jvp(matmul, (x, kernel), (dx, dkernel))
    np.testing.assert_allclose(derivative, dx @ kernel + x @ dkernel, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 7, 3), (2, 0, 3)])
def test_no_rows_give_a_gradient_of_zeros(shape):
    slope = jax.grad(lambda kernel: matmul(jnp.ones(shape), kernel).sum())
    np.testing.assert_array_equal(slope(jnp.ones((3, 5))), np.zeros((3, 5)))


def products(program) -> list:
    return [e for e in program.eqns if e.primitive.name == "dot_general"]


def test_gradient_of_a_linear_layer_on_cpus_needs_no_transposed_tokens():
    layer = nnx.Linear(3, 5, dot_general=dot_general, rngs=nnx.Rngs(0))
    graph, params = nnx.split(layer)
    x = jnp.ones((2, 7, 3))
    slope = jax.grad(lambda params: jnp.sin(nnx.merge(graph, params)(x)).sum())
    _, of_kernel = products(jax.make_jaxpr(slope)(params))
    assert sorted(v.aval.shape for v in of_kernel.invars) == [(14, 3), (14, 5)]


@pytest.mark.parametrize(
    ("platform", "options"), [("tpu", {}), ("cpu", {"precision": "highest"})]
)
def test_linear_layers_keep_the_product_of_jax_otherwise(platform, options):
    x, kernel = jnp.ones((2, 7, 3)), jnp.ones((3, 5))

    def run(x, kernel):
        return dot_general(x, kernel, (((2,), (0,)), ((), ())), **options)

    with tracing_for(platform):
        (product,) = products(jax.make_jaxpr(run)(x, kernel))
    assert product.invars[0].aval.shape == x.shape
    assert (product.params["precision"] is None) == (not options)
