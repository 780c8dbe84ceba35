"""Counts against XLA's analysis and unrolled twins; where operands come from."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas as pl

from hybrid_jax.ops import matmul as matmul_file
from hybrid_jax.ops.attention.dot_product import attention
from hybrid_jax.ops.matmul import matmul
from hybrid_jax.programs.flop_count import CONSTANT, follow

IMAGES, WEIGHTS = frozenset({"images"}), frozenset({"weights"})


def shape(*sides, dtype="float32"):
    return jax.ShapeDtypeStruct(sides, dtype)


def flow(function, *arrays, origins=(IMAGES, WEIGHTS)):
    return follow(jax.make_jaxpr(function)(*arrays), origins[: len(arrays)])


def flops_of_xla(function, *arrays):
    return jax.jit(function).lower(*arrays).cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("spec", "left", "right"),
    [
        ("ij,jk->ik", (5, 7), (7, 11)),
        ("bnhd,bmhd->bhnm", (2, 5, 3, 4), (2, 6, 3, 4)),
        ("abij,bij->ab", (2, 3, 4, 5), (3, 4, 5)),
        ("i,j->ij", (4,), (6,)),
    ],
)
def test_product_counts_as_in_xla(spec, left, right):
    def function(x, y):
        return jnp.einsum(spec, x, y)

    counted = flow(function, shape(*left), shape(*right)).macs
    assert 2 * counted == flops_of_xla(function, shape(*left), shape(*right))


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_convolution_counts_as_in_xla(groups, stride, dilation):
    # Without padding, whose cells XLA leaves out.
    function = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(stride, stride),
        rhs_dilation=(dilation, dilation),
        padding="VALID",
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    arrays = shape(2, 14, 17, 8), shape(3, 5, 8 // groups, 16)
    assert 2 * flow(function, *arrays).macs == flops_of_xla(function, *arrays)


def test_transposed_convolution_counts_every_input_cell_once():
    def function(x, kernel):
        return jax.lax.conv_transpose(x, kernel, (2, 2), "VALID")

    counted = flow(function, shape(1, 8, 8, 6), shape(2, 2, 6, 10)).macs
    assert counted == 8 * 8 * (2 * 2) * 6 * 10


def test_scanned_body_counts_as_often_as_it_runs():
    def scanned(x, kernels):
        return jax.lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, kernels)[0]

    def unrolled(x, kernels):
        for kernel in kernels:
            x = jnp.tanh(x @ kernel)
        return x

    arrays = shape(4, 6), shape(5, 6, 6)
    found = flow(scanned, *arrays)
    assert found.macs == flow(unrolled, *arrays).macs == 5 * 4 * 6 * 6
    assert [product.times for product in found.products] == [5]
    assert found.outputs == [IMAGES | WEIGHTS]


def test_scan_inside_scan_multiplies():
    def inner(x, _):
        return x @ x, None

    def outer(x, _):
        return jax.lax.scan(inner, x, None, length=3)[0], None

    found = flow(lambda x: jax.lax.scan(outer, x, None, length=4)[0], shape(2, 2))
    assert found.macs == 12 * 8
    assert found.products[0].times == 12


def test_scan_follows_what_goes_round():
    # The third value sees the images only after two turns.
    def function(x, kernel):
        def body(carry, row):
            a, b, c = carry
            return (a, a, b), c @ kernel + row

        start = (x, jnp.zeros((2, 2)), jnp.zeros((2, 2)))
        return jax.lax.scan(body, start, jnp.ones((4, 2)))

    found = flow(function, shape(2, 2), shape(2, 2))
    assert (found.products[0].left, found.products[0].right) == (IMAGES, WEIGHTS)
    assert found.outputs == [IMAGES] * 3 + [IMAGES | WEIGHTS]


def test_while_is_counted_once_and_says_so():
    def function(x, kernel):
        def body(x):
            return x @ kernel

        return jax.lax.while_loop(lambda x: x.sum() < kernel.sum(), body, x)

    found = flow(function, shape(4, 6), shape(6, 6))
    assert found.macs == 4 * 6 * 6
    assert found.products[0].right == WEIGHTS
    assert found.uncounted == ["while: its body is counted once; it may run more often"]


def test_cond_counts_its_costliest_branch():
    def function(x, kernel):
        branches = [lambda x, k: x, lambda x, k: x @ k @ k, lambda x, k: x @ k]
        return jax.lax.switch(jnp.int32(x.sum()), branches, x, kernel)

    found = flow(function, shape(4, 6), shape(6, 6))
    assert found.macs == 2 * 4 * 6 * 6
    assert found.outputs == [IMAGES | WEIGHTS]


def _custom_jvp(x, kernel):
    @jax.custom_jvp
    def product(x, kernel):
        return x @ kernel

    product.defjvp(lambda primals, tangents: (product(*primals), product(*tangents)))
    return product(x, kernel)


CALLS = {
    "jit": jax.jit(jnp.matmul),
    "remat": jax.checkpoint(jnp.matmul),
    "jit of remat": jax.jit(jax.checkpoint(jax.jit(jnp.matmul))),
    "custom_jvp": _custom_jvp,
    "custom_vjp": matmul_file._matmul_cpu,
    "ops.matmul": matmul,
    "barrier": lambda x, kernel: jnp.matmul(*jax.lax.optimization_barrier((x, kernel))),
    "vmap": lambda x, kernel: jax.vmap(lambda row: row @ kernel)(x),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_entered_and_keep_origins(name):
    found = flow(CALLS[name], shape(4, 6), shape(6, 5))
    (product,) = found.products
    assert product.macs == 4 * 6 * 5
    assert {product.left, product.right} == {IMAGES, WEIGHTS}
    assert found.outputs == [IMAGES | WEIGHTS]
    assert not found.uncounted


def test_constants_come_from_nothing():
    table = jnp.ones((6, 3))
    (product,) = flow(lambda x: x @ jnp.sin(table), shape(4, 6)).products
    assert (product.left, product.right) == (IMAGES, CONSTANT)


def test_gradient_costs_two_more_products():
    def loss(kernel, x):
        return jnp.sum(jnp.square(x @ kernel))

    both = jax.grad(loss, argnums=(0, 1))
    assert flow(both, shape(6, 5), shape(4, 6)).macs == 3 * 4 * 6 * 5


def test_fused_attention_counts_like_the_plain_one(monkeypatch):
    where = "jax._src.cudnn.fused_attention_stablehlo"
    monkeypatch.setattr(f"{where}.check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(f"{where}.check_compute_capability", lambda _: True)
    arrays = [shape(2, n, 3, 8, dtype="bfloat16") for n in (16, 24, 24)]
    origins = [IMAGES, IMAGES, WEIGHTS]

    def fused(*arrays):
        return jax.nn.dot_product_attention(*arrays, implementation="cudnn")

    found = flow(fused, *arrays, origins=origins)
    plain = flow(attention, *arrays, origins=origins)
    assert found.macs == plain.macs == 2 * 2 * 3 * 16 * 24 * 8
    assert [p.batch for p in found.products] == [(2, 3)] * 2
    assert [p.contracted for p in found.products] == [8, 24]
    assert [p.free for p in found.products] == [(16, 24), (16, 8)]
    assert [p.left for p in found.products] == [IMAGES, IMAGES]
    assert [p.right for p in found.products] == [IMAGES, WEIGHTS]
    assert found.outputs == plain.outputs


def test_kernel_that_cannot_be_read_is_named():
    def kernel(x, y, out):
        out[...] = x[...] @ y[...]

    call = pl.pallas_call(kernel, out_shape=shape(8, 8), interpret=True)
    found = flow(call, shape(8, 8), shape(8, 8))
    assert found.macs == 0
    assert found.outputs == [IMAGES | WEIGHTS]
    assert found.uncounted == ["pallas_call: its products are not counted"]


def test_every_input_needs_an_origin():
    with pytest.raises(ValueError, match="each of the 2 inputs, got 1"):
        follow(jax.make_jaxpr(jnp.matmul)(shape(2, 2), shape(2, 2)), [IMAGES])
