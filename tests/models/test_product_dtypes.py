"""Products of float32 are found in programs that should compute in bfloat16."""

import jax
import jax.numpy as jnp
import pytest
from product_dtypes import float32_products

from hybrid_jax.ops.matmul import matmul

X = jnp.zeros((4, 4))


def products(function, *arguments):
    return float32_products(jax.make_jaxpr(function)(*arguments).jaxpr)


@pytest.mark.parametrize("outer", [lambda f: f, jax.jit, jax.checkpoint, jax.grad])
def test_product_of_float32_is_found_wherever_it_is(outer):
    def total(x):
        return (x @ X).sum()

    assert products(outer(total), X)[0].startswith("test_product_dtypes.py:")


def test_one_operand_is_enough():
    narrow = X.astype(jnp.bfloat16)
    assert products(lambda x: jax.lax.dot(x, X), narrow)
    assert not products(lambda x: x @ narrow, narrow)


def test_product_with_the_highest_precision_is_meant_so():
    assert not products(lambda x: jnp.matmul(x, X, precision="highest"), X)


def test_a_product_that_layers_share_is_told_by_each_of_its_callers():
    def layers(x):
        x = matmul(x, X)
        return matmul(x, X)

    first, second = products(layers, X)
    assert first != second
    assert all(place.startswith("test_product_dtypes.py:") for place in (first, second))
