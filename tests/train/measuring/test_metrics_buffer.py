"""What the host waits for, and which step is named."""

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.train.measuring.finite_check import NonFiniteError
from hybrid_jax.train.measuring.metrics_buffer import MetricsBuffer


@pytest.fixture
def buffer():
    return MetricsBuffer(schedule=lambda step: 0.1 * step)


def test_host_waits_for_the_step_before_the_last_two(buffer, monkeypatch):
    waited = []
    monkeypatch.setattr(jax, "block_until_ready", waited.append)
    for step in range(1, 6):
        buffer.push(step, dict(loss=step))
    assert waited == [dict(loss=step) for step in (1, 2, 3)]


def test_newest_is_returned_once(buffer):
    assert buffer.drain(last_saved=None) == {}
    for step in (1, 2):
        buffer.push(step, dict(loss=jnp.float32(step), grad_norm=jnp.float32(1.0)))
    assert buffer.drain(last_saved=None) == dict(loss=2.0, grad_norm=1.0)
    assert buffer.drain(last_saved=None) == {}


def test_step_that_is_not_finite_is_named_though_later_ones_are(buffer):
    for step, loss in ((6, 1.0), (7, float("nan")), (8, 1.0)):
        buffer.push(step, dict(loss=jnp.float32(loss)))
    with pytest.raises(
        NonFiniteError, match=r"step 7 is not finite \(learning rate 0.6\)"
    ) as e:
        buffer.drain(last_saved=4)
    assert "the checkpoint of step 4 is from before it" in str(e.value)
