"""Attention against float64 numpy."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybrid_jax.ops.attention import dot_product as module
from hybrid_jax.ops.attention.dot_product import (
    attention,
    attention_kernel,
    cudnn,
    heads_first,
    stored_weights,
)
from hybrid_jax.ops.platform import tracing_for

attend = jax.jit(attention)  # one program, not one for each operation


def inputs(dtype=np.float32, *, scale=1.0):
    rng = np.random.default_rng(0)
    return [
        (scale * rng.standard_normal(shape)).astype(dtype)
        for shape in ((2, 5, 3, 8), (2, 7, 3, 8), (2, 7, 3, 8))
    ]


def reference(query, key, value, bias=0.0):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    logits = np.einsum("bnhd,bmhd->bhnm", query, key) / np.sqrt(query.shape[-1]) + bias
    return np.einsum("bhnm,bmhd->bnhd", special.softmax(logits, axis=-1), value)


def test_attention_equals_reference():
    np.testing.assert_allclose(attend(*inputs()), reference(*inputs()), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 3, 5, 7), (1, 1, 5, 7)])
def test_bias_is_added_to_the_logits(shape):
    bias = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    ours = attend(*inputs(), bias=jnp.asarray(bias))
    np.testing.assert_allclose(ours, reference(*inputs(), bias), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_mask_hides_keys_and_goes_with_a_bias(dtype):
    query, key, value = inputs(dtype)
    mask = np.ones((2, 1, 1, 7), bool)
    mask[0, ..., 4] = False
    bias = np.random.default_rng(1).standard_normal((1, 3, 5, 7)).astype(dtype)
    hidden = attention(query, key, value, bias=jnp.asarray(bias), mask=jnp.asarray(mask))
    without = (np.delete(x, 4, 1) for x in (key, value))
    exact = reference(query, *without, np.delete(bias, 4, -1))
    atol = 1e-6 if dtype == np.float32 else 2e-3
    np.testing.assert_allclose(hidden[0], exact[0], atol=atol)
    np.testing.assert_allclose(hidden[1], reference(query, key, value, bias)[1], atol=atol)


def test_bias_of_minus_infinity_hides_a_key():
    bias = np.zeros((1, 1, 5, 7), np.float32)
    bias[..., 4] = -np.inf
    query, key, value = inputs()
    hidden = attend(query, key, value, bias=jnp.asarray(bias))
    without = attend(query, np.delete(key, 4, 1), np.delete(value, 4, 1))
    np.testing.assert_allclose(hidden, without, atol=1e-6)


def test_softmax_is_float32_under_bfloat16():
    # Logits near 60 with gaps near one: bfloat16 would round them to halves.
    query, key, value = (jnp.asarray(x, jnp.bfloat16) for x in inputs(scale=4.0))
    ours = attend(query, key, value)
    assert ours.dtype == jnp.bfloat16
    exact = reference(query, key, value)
    np.testing.assert_allclose(
        np.asarray(ours, np.float64), exact, atol=0.02 * np.abs(exact).max()
    )


@pytest.mark.parametrize(
    ("kernel", "platform", "dtype", "head_dim", "tokens", "expected"),
    [
        ("auto", "cpu", jnp.bfloat16, 64, 196, "xla"),
        ("auto", "gpu", jnp.float32, 64, 196, "xla"),
        ("auto", "gpu", jnp.bfloat16, 64, 196, "cudnn"),
        ("auto", "gpu", jnp.bfloat16, 64, 197, "cudnn"),
        ("auto", "gpu", jnp.float16, 60, 196, "xla"),
        ("auto", "gpu", jnp.bfloat16, 160, 196, "xla"),
        ("auto", "gpu", jnp.bfloat16, 64, 1, "xla"),
        ("auto", "tpu", jnp.bfloat16, 64, 196, "xla"),
        ("xla", "gpu", jnp.bfloat16, 64, 196, "xla"),
        ("cudnn", "gpu", jnp.bfloat16, 64, 1, "cudnn"),
        ("cudnn", "gpu", jnp.float32, 64, 196, "xla"),
        ("cudnn", "cpu", jnp.bfloat16, 64, 196, "xla"),
    ],
)
def test_kernel_is_chosen_by_platform_dtype_and_shape(
    monkeypatch, kernel, platform, dtype, head_dim, tokens, expected
):
    monkeypatch.setattr(cudnn, "has_flash_attention", lambda: True)
    x = jax.ShapeDtypeStruct((2, tokens, 3, head_dim), dtype)
    with attention_kernel(kernel), tracing_for(platform):
        assert module.chosen_kernel(x, x) == expected


def test_kernel_outside_its_block_is_chosen_again(monkeypatch):
    monkeypatch.setattr(cudnn, "has_flash_attention", lambda: True)
    x = jax.ShapeDtypeStruct((2, 64, 3, 64), jnp.bfloat16)
    with tracing_for("gpu"):
        with attention_kernel("xla"):
            assert module.chosen_kernel(x, x) == "xla"
        assert module.chosen_kernel(x, x) == "cudnn"


def test_unknown_kernel_is_refused():
    with (
        pytest.raises(ValueError, match="expected one of .*'flash'"),
        attention_kernel("flash"),
    ):
        pass


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("9.0", True), ("8.0", True), ("7.5", False), ("gfx90a", False), (None, False)],
)
def test_fused_kernel_needs_an_ampere_gpu(monkeypatch, capability, expected):
    device = types.SimpleNamespace()
    if capability is not None:
        device.compute_capability = capability
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert cudnn.has_flash_attention() is expected


FORMS = {
    "padded for cuDNN": functools.partial(cudnn.attention, implementation="xla"),
    "weights stored": stored_weights.attention,
    "heads first": heads_first.attention,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias_shape", [None, (2, 1, 1, 7), (1, 3, 5, 7), (2, 3, 5, 7)])
def test_every_form_has_the_values_and_gradients_of_the_plain_one(form, bias_shape):
    arrays = [jnp.asarray(x) for x in inputs()]
    if bias_shape is not None:
        bias = np.random.default_rng(1).standard_normal(bias_shape)
        arrays.append(jnp.asarray(bias, jnp.float32))

    def loss(form):
        def run(query, key, value, bias=None):
            return jnp.sum(jnp.sin(form(query, key, value, bias=bias)))

        slope = jax.value_and_grad(run, argnums=tuple(range(len(arrays))))
        return jax.jit(slope)(*arrays)

    def plain(query, key, value, *, bias):
        return jax.nn.dot_product_attention(query, key, value, bias)

    for ours, theirs in zip(
        jax.tree.leaves(loss(FORMS[form])), jax.tree.leaves(loss(plain)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("form", [heads_first, stored_weights])
def test_gradients_in_bfloat16_are_near_those_of_float32(form):
    def slopes(dtype):
        arrays = [jnp.asarray(x, dtype) for x in inputs()]

        def total(*x):
            return jnp.sin(form.attention(*x, bias=None).astype(jnp.float32)).sum()

        return jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*arrays)

    for ours, exact in zip(slopes(jnp.bfloat16), slopes(jnp.float32), strict=True):
        assert ours.dtype == jnp.bfloat16
        atol = 0.02 * float(jnp.abs(exact).max())
        np.testing.assert_allclose(ours.astype(jnp.float32), exact, atol=atol)


def test_tokens_are_padded_for_a_gradient_alone():
    x = jnp.ones((1, 7, 2, 8))

    def attend(x):
        return cudnn.attention(x, x, x, bias=None, implementation="xla").sum()

    assert "8,2,8]" not in str(jax.make_jaxpr(attend)(x))
    assert "8,2,8]" in str(jax.make_jaxpr(jax.grad(attend))(x))


def test_weights_are_stored_in_the_compute_dtype():
    arrays = [jnp.asarray(x, jnp.bfloat16) for x in inputs()]
    _, pull = jax.vjp(lambda *a: stored_weights.attention(*a, bias=None), *arrays)
    tables = [x for x in jax.tree.leaves(pull) if x.shape == (2, 3, 5, 7)]
    assert [x.dtype for x in tables] == [jnp.bfloat16]


def test_products_with_heads_first_need_no_transposed_tokens():
    slope = jax.grad(
        lambda *x: heads_first.attention(*x, bias=None).sum(), argnums=(0, 1, 2)
    )
    program = jax.make_jaxpr(slope)(*inputs())
    products = [e for e in program.eqns if e.primitive.name == "dot_general"]
    batched = [e.params["dimension_numbers"][1] for e in products]
    assert [tuple(map(tuple, axes)) for axes in batched] == [((0, 1), (0, 1))] * 6


@pytest.mark.parametrize(
    ("platform", "form"), [("tpu", stored_weights), ("cpu", heads_first)]
)
def test_unfused_attention_has_the_form_of_its_platform(monkeypatch, platform, form):
    calls = []
    monkeypatch.setattr(form, "attention", lambda *a, **k: calls.append(a) or a[0])
    with tracing_for(platform):
        attention(*inputs())
    assert len(calls) == 1
