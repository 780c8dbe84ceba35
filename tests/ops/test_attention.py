"""Attention against float64 numpy."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybrid_jax.ops import attention as module
from hybrid_jax.ops.attention import attention


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
    np.testing.assert_allclose(attention(*inputs()), reference(*inputs()), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 3, 5, 7), (1, 1, 5, 7)])
def test_bias_is_added_to_the_logits(shape):
    bias = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    ours = attention(*inputs(), bias=jnp.asarray(bias))
    np.testing.assert_allclose(ours, reference(*inputs(), bias), atol=1e-6)


def test_bias_of_minus_infinity_hides_a_key():
    bias = np.zeros((1, 1, 5, 7), np.float32)
    bias[..., 4] = -np.inf
    query, key, value = inputs()
    hidden = attention(query, key, value, bias=jnp.asarray(bias))
    without = attention(query, np.delete(key, 4, 1), np.delete(value, 4, 1))
    np.testing.assert_allclose(hidden, without, atol=1e-6)


def test_softmax_is_float32_under_bfloat16():
    # Logits near 60 with gaps near one: bfloat16 would round them to halves.
    query, key, value = (jnp.asarray(x, jnp.bfloat16) for x in inputs(scale=4.0))
    ours = attention(query, key, value)
    assert ours.dtype == jnp.bfloat16
    exact = reference(query, key, value)
    np.testing.assert_allclose(
        np.asarray(ours, np.float64), exact, atol=0.02 * np.abs(exact).max()
    )


@pytest.mark.parametrize(
    ("backend", "dtype", "head_dim", "tokens", "bias", "expected"),
    [
        ("cpu", jnp.bfloat16, 64, 196, False, "xla"),
        ("gpu", jnp.float32, 64, 196, False, "xla"),
        ("gpu", jnp.bfloat16, 64, 196, False, "cudnn"),
        ("gpu", jnp.bfloat16, 64, 197, False, "cudnn"),
        ("gpu", jnp.bfloat16, 64, 197, True, "xla"),
        ("gpu", jnp.bfloat16, 64, 196, True, "cudnn"),
        ("gpu", jnp.float16, 60, 196, False, "xla"),
        ("gpu", jnp.bfloat16, 160, 196, False, "xla"),
        ("tpu", jnp.bfloat16, 64, 196, False, "xla"),
    ],
)
def test_cudnn_is_asked_for_only_where_it_applies(
    monkeypatch, backend, dtype, head_dim, tokens, bias, expected
):
    monkeypatch.setattr(module, "_has_flash_attention", lambda: backend == "gpu")
    x = jax.ShapeDtypeStruct((2, tokens, 3, head_dim), dtype)
    assert module._implementation(x, x, x if bias else None) == expected


@pytest.mark.parametrize(
    ("backend", "capability", "expected"),
    [
        ("gpu", "9.0", True),
        ("gpu", "8.0", True),
        ("gpu", "7.5", False),
        ("gpu", "gfx90a", False),
        ("cpu", "9.0", False),
    ],
)
def test_fused_kernel_needs_an_ampere_gpu(monkeypatch, backend, capability, expected):
    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert module._has_flash_attention() is expected
