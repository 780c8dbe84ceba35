"""Attention through tokamax: when it is chosen, and that it is the same attention."""

import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from pretend_accelerator import DEVICES, tracing_on

from hybrid_jax.errors import UserError
from hybrid_jax.ops.attention import tokamax_kernels
from hybrid_jax.ops.attention.dot_product import attention, attention_kernel, chosen_kernel
from hybrid_jax.ops.device_mesh import device_mesh, tracing_over
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.programs.collectives import collectives
from hybrid_jax.train.parallel.sharding import make_mesh

MESH = dict(data=2, fsdp=2, tensor=2)


@pytest.fixture
def tokamax():
    return pytest.importorskip("tokamax", reason="tokamax is not installed")


def arrays(N, M, *, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((4, N, 2, 8), (4, M, 2, 8), (4, M, 2, 8))
    return [jax.random.normal(k, s, dtype) for k, s in zip(keys, shapes, strict=True)]


def gradients(kernel):
    """Returns `(query, key, value) -> value and gradients` of a sum, not jitted."""

    def loss(query, key, value):
        with attention_kernel(kernel):
            return jnp.sum(jnp.sin(attention(query, key, value).astype(jnp.float32)))

    return jax.value_and_grad(loss, argnums=(0, 1, 2))


def check_equal(ours, theirs):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def test_missing_library_is_a_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokamax", None)
    with pytest.raises(UserError, match=r"model.attention.*pip install -e '.\[tokamax\]'"):
        tokamax_kernels.import_tokamax()


@pytest.mark.parametrize(
    ("platform", "device", "dtype", "has_bias", "expected"),
    [
        ("gpu", "gpu", jnp.bfloat16, False, "tokamax"),
        ("gpu", "gpu", jnp.float32, False, "xla"),
        ("gpu", "gpu", jnp.bfloat16, True, "xla"),
        ("tpu", "tpu", jnp.bfloat16, False, "tokamax"),
        ("tpu", "tpu", jnp.float32, False, "tokamax"),
        ("tpu", "tpu", jnp.bfloat16, True, "xla"),
        ("tpu", "cpu", jnp.bfloat16, False, "xla"),
        ("cpu", "cpu", jnp.float32, False, "xla"),
    ],
)
def test_kernel_is_chosen_by_device_dtype_and_bias(
    monkeypatch, platform, device, dtype, has_bias, expected
):
    devices = [types.SimpleNamespace(platform=device)]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    x = jax.ShapeDtypeStruct((2, 50, 3, 64), dtype)
    bias = jax.ShapeDtypeStruct((2, 1, 1, 50), dtype) if has_bias else None
    with tracing_for(platform):
        with attention_kernel("tokamax"):
            assert chosen_kernel(x, x, bias=bias) == expected
        assert chosen_kernel(x, x, bias=bias) != "tokamax"  # under "auto"


@pytest.mark.parametrize(
    ("rows", "heads", "expected"), [(8, 4, True), (6, 4, False), (8, 3, False)]
)
def test_mesh_must_divide_examples_and_heads(monkeypatch, rows, heads, expected):
    monkeypatch.setattr(tokamax_kernels, "has_device", "tpu".__eq__)
    x = jax.ShapeDtypeStruct((rows, 50, heads, 64), jnp.bfloat16)
    with tracing_for("tpu"), tracing_over(make_mesh(MESH)):
        assert tokamax_kernels.applies(x, bias=None) is expected
    assert device_mesh() is None


@pytest.mark.slow
@pytest.mark.parametrize(("N", "M"), [(5, 130), (128, 128)])
def test_splash_is_the_same_attention(tokamax, N, M):
    with tracing_on("v5e", interpreted=True):
        ours = jax.jit(gradients("tokamax"))(*arrays(N, M))
    check_equal(ours, gradients("xla")(*arrays(N, M)))


def test_gpu_calls_pad_and_hide_keys(tokamax, monkeypatch):
    # No interpreter runs these kernels on a CPU: here are their arguments, given to XLA.
    monkeypatch.setitem(tokamax_kernels._KERNELS, "gpu", ("xla",))
    with tracing_for("gpu"):
        ours = tokamax_kernels.attention(*arrays(5, 70))
    check_equal(ours, attention(*arrays(5, 70)))


def test_each_device_attends_to_its_own_examples_and_heads(tokamax):
    mesh = make_mesh(MESH)
    split = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "tensor"))
    run = jax.jit(
        gradients("tokamax"),
        in_shardings=split,
        out_shardings=(NamedSharding(mesh, PartitionSpec()), split),
    )
    with tracing_on("v5e", interpreted=True), tracing_over(mesh):
        compiled = run.lower(*arrays(5, 7)).compile()
    exchanges = {(one.op, one.shape) for one in collectives(compiled.as_text())}
    assert exchanges == {("all-reduce", "f32[]")}
    inputs = jax.device_put(arrays(5, 7), split)
    check_equal(compiled(*inputs), gradients("xla")(*arrays(5, 7)))


@pytest.mark.parametrize(
    ("device", "call"),
    [("ampere", "gpu.triton"), ("hopper", "mosaic_gpu"), ("v5e", "tpu_custom_call")],
)
@pytest.mark.parametrize(("N", "M"), [(197, 197), (50, 1025), (256, 256)])
def test_kernels_lower_from_a_cpu(tokamax, device, call, N, M):
    platform = DEVICES[device].platform
    target = dict(gpu="cuda", tpu="tpu")[platform]
    with tracing_on(device):
        traced = jax.jit(gradients("tokamax")).trace(*arrays(N, M, dtype=jnp.bfloat16))
        text = traced.lower(lowering_platforms=(target,)).as_text()
    kernels = re.findall(rf"custom_call @[\w.$]*{call}", text)
    assert len(kernels) >= 2, "one forward, one or more backward"
    block = dict(gpu=64, tpu=128)[platform]
    table = f"{-(-N // block) * block}x{-(-M // block) * block}x(f32|bf16)"
    assert not re.search(table, text), "logits or weights in memory"
