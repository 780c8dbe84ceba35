"""The learning rate over the steps of a run: warm-up, then one of four curves."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

Schedule = Callable[[jax.typing.ArrayLike], jax.Array | float]
"""Step, counted from 0 -> learning rate. Optax's own type allows complex numbers."""


def make_schedule(optimizer: Mapping[str, Any], *, steps: int) -> Schedule:
    """Returns the learning rate as a function of the step.

    Args:
        optimizer: the `optimizer` branch of a config.
        steps: length of the run; warm-up and cool-down are shares of it.
    """
    peak = optimizer["learning_rate"]
    warmup = round(optimizer["warmup_fraction"] * steps)
    after = max(steps - warmup, 1)
    match optimizer["schedule"]:
        case "cosine":
            main = optax.cosine_decay_schedule(peak, after)
        case "linear":
            main = optax.linear_schedule(peak, 0.0, after)
        case "constant":
            main = optax.constant_schedule(peak)
        case "rsqrt":
            main = _rsqrt(optimizer, after=after, steps=steps)
    rise = optax.linear_schedule(0.0, peak, max(warmup, 1))
    joined = optax.join_schedules([rise, main], [warmup]) if warmup else main
    return cast(Schedule, joined)


def _rsqrt(optimizer, *, after: int, steps: int) -> optax.Schedule:
    """Reciprocal square root with a linear cool-down (Zhai et al., 2021)."""
    peak, timescale = optimizer["learning_rate"], optimizer["rsqrt_timescale"]
    cooldown = max(round(optimizer["cooldown_fraction"] * steps), 1)

    def schedule(step):
        rate = peak / jnp.sqrt(1.0 + step / timescale)
        return rate * jnp.clip((after - step) / cooldown, 0.0, 1.0)

    return schedule
