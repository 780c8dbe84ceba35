"""The optimizer: schedule, clipping, decay, and what each parameter's rate is."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from hybrid_jax.train.optimization.freezing import check_some_left, found_by, split
from hybrid_jax.train.optimization.layer_decay import height_of, layer_of
from hybrid_jax.train.state import path_name

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


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Clipping, the named rule, decoupled decay, and a rate for each parameter.

    What is frozen has no part in any of it: no moments, no share in the clipped norm.

    Attributes:
        options: the `optimizer` branch of a config.
        rule: the optax chain that all other parameters go through.
    """

    options: Mapping[str, Any]
    rule: optax.GradientTransformation

    def init(self, params: dict) -> Any:
        """Returns the state for all parameters of a model.

        Raises:
            UserError: `optimizer.freeze` finds nothing, or nothing is left to train.
        """
        return self.rule.init(self.split(params)[0])

    def split(self, params: dict) -> tuple[dict, dict]:
        """Splits all parameters of a model into (trained, frozen)."""
        rates = rate_factors(self.options, params)
        return split(params, {path for path, rate in rates.items() if not rate})

    def update(self, grads: dict, state: Any, params: dict) -> tuple[dict, Any]:
        """Returns what to add to the trained parameters, and the new state.

        Args:
            grads: of the trained parameters.
            state: from `init` or the step before.
            params: all parameters of the model.
        """
        rates = rate_factors(self.options, params)
        updates, state = self.rule.update(grads, state, self.split(params)[0])

        def scale(path, update):
            return update * rates[path_name(path)]

        return jax.tree_util.tree_map_with_path(scale, updates), state


def make_optimizer(optimizer: Mapping[str, Any], *, steps: int) -> Optimizer:
    """Returns the optimizer a config describes.

    Args:
        optimizer: the `optimizer` branch of a config.
        steps: length of the run.
    """
    rules = []
    if optimizer["clip_norm"]:
        rules.append(optax.clip_by_global_norm(optimizer["clip_norm"]))
    rules += _RULES[optimizer["name"]](optimizer, _decay(optimizer))
    rules.append(optax.scale_by_learning_rate(make_schedule(optimizer, steps=steps)))
    return Optimizer(optimizer, optax.chain(*rules))


def rate_factors(optimizer: Mapping[str, Any], params: dict) -> dict[str, float]:
    """Returns, by path, what the learning rate is multiplied with; 0.0 is frozen.

    Args:
        optimizer: the `optimizer` branch of a config.
        params: all parameters of a model, or their shapes.

    Raises:
        UserError: `optimizer.freeze` finds nothing, or nothing is left to train.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    shapes = {path_name(path): leaf.shape for path, leaf in leaves}
    height, decay = height_of(shapes), optimizer["layer_decay"]
    rates = {
        path: optimizer["branch"][branch_of(path)] * decay ** layer_of(path, height)
        for path in shapes
    }
    rates |= dict.fromkeys(found_by(optimizer["freeze"], shapes), 0.0)
    check_some_left({path for path, rate in rates.items() if not rate}, shapes)
    return rates


def _adamw(optimizer, decay) -> list[optax.GradientTransformation]:
    """Decay added after the moments (Loshchilov & Hutter, 2017)."""
    moment_dtype = jnp.dtype(optimizer["moment_dtype"])
    b1, b2, eps = (optimizer[name] for name in ("b1", "b2", "eps"))
    return [optax.scale_by_adam(b1, b2, eps, mu_dtype=moment_dtype), *decay]


def _lamb(optimizer, decay) -> list[optax.GradientTransformation]:
    """AdamW whose step is scaled to each array's norm (You et al., 2019)."""
    return [*_adamw(optimizer, decay), optax.scale_by_trust_ratio()]


def _sgd(optimizer, decay) -> list[optax.GradientTransformation]:
    """Momentum over gradient and decay together, as the ResNet recipes mean it."""
    moment_dtype = jnp.dtype(optimizer["moment_dtype"])
    trace = optax.trace(optimizer["momentum"], accumulator_dtype=moment_dtype)
    return [*decay, trace]


_RULES = {"adamw": _adamw, "lamb": _lamb, "sgd": _sgd}


def _decay(optimizer) -> list[optax.GradientTransformation]:
    if not optimizer["weight_decay"]:
        return []
    never = re.compile(optimizer["no_decay"])
    return [
        optax.add_decayed_weights(
            optimizer["weight_decay"], mask=lambda tree: _decayed(tree, never)
        )
    ]


def branch_of(path: str) -> str:
    """Returns the branch a parameter belongs to: resnet, vit, fusion or head."""
    if not path.startswith("backbone/"):
        return "head"
    part = path.split("/")[1]
    return part if part in ("resnet", "vit") else "fusion"


def _decayed(tree: Any, never: re.Pattern) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: never.search(path_name(path)) is None, tree
    )
