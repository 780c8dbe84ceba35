"""The kind of device a program is traced for."""

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.ops.matmul import matmul
from hybrid_jax.ops.platform import platform, tracing_for
from hybrid_jax.ops.pooling import max_pool


def test_platform_is_that_of_the_process_unless_said_otherwise():
    assert platform() == jax.default_backend()
    with tracing_for("tpu"):
        assert platform() == "tpu"
        with tracing_for(None):
            assert platform() == "tpu"
    assert platform() == jax.default_backend()


def test_unknown_platform_is_refused():
    with pytest.raises(ValueError, match="expected one of .*'cuda'"), tracing_for("cuda"):
        pass


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x: max_pool(x, padding="same"), [(1, 8, 8, 2)]),
        (matmul, [(1, 4, 4, 3), (3, 2)]),
    ],
)
def test_forms_follow_the_platform_and_agree(function, shapes):
    arrays = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]

    def traced(name):
        def run(*arrays):
            with tracing_for(name):
                return jnp.sum(jnp.sin(function(*arrays)))

        return jax.value_and_grad(run)

    assert str(jax.make_jaxpr(traced("cpu"))(*arrays)) != str(
        jax.make_jaxpr(traced("tpu"))(*arrays)
    )
    for ours, theirs in zip(
        jax.tree.leaves(traced("cpu")(*arrays)),
        jax.tree.leaves(traced("tpu")(*arrays)),
        strict=True,
    ):
        assert jnp.allclose(ours, theirs, atol=1e-6)
