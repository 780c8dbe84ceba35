"""Training steps that are computed, on random parameters of small models."""

import re

import jax
import numpy as np
import pytest
from jax.interpreters import partial_eval
from parameters import names_and_leaves, random_like
from small_fusion import BUILT_FOR
from task_batches import batch_for
from task_steps import step_of

# Parameters of a head with its default options that have no gradient, and why.
DEAD = {
    "detr": (
        # What is the same for all keys of a query falls out of its softmax.
        r"head\.decoder\.layers\.\d\.self_attn\.key\.bias",
        r"head\.decoder\.layers\.\d\.cross_attn\.key\.bias",
        # Learned queries begin as zeros, as DETR's: the first layer's values are one bias,
        # whatever is attended to.
        r"head\.decoder\.layers\.0\.self_attn\.query\.(kernel|bias)",
        r"head\.decoder\.layers\.0\.self_attn\.(key|value)\.kernel",
    ),
}


def gradient_sizes(fusion, head, *, hw=BUILT_FOR, **how):
    """Takes a step; returns the parts of its loss and the norm of each gradient."""
    step = step_of(fusion, head, **how)
    batch, key = batch_for(step.targets, hw=hw), jax.random.key(0)
    gradient = jax.jit(jax.value_and_grad(step.loss, has_aux=True))
    state = random_like(step.params), random_like(step.rest)
    (total, mean), gradients = gradient(*state, batch, key)
    assert np.isfinite(total)
    assert mean.count > 0
    if mean.parts:
        assert float(sum(mean.parts.values())) == pytest.approx(float(total), rel=1e-4)
    sizes = {k: float(np.linalg.norm(g)) for k, g in names_and_leaves(gradients).items()}
    assert np.isfinite(list(sizes.values())).all(), sizes
    return mean.parts, sizes


def check_every_parameter_is_reached(sizes, *, dead=(), unread=frozenset()):
    """Raises unless every parameter has a gradient that is more than rounding.

    Args:
        sizes: from `gradient_sizes`.
        dead: patterns of names that cannot have one, each with a dead parameter.
        unread: names of those that nothing the head reads depends on.
    """
    least = 1e-6 * max(sizes.values())
    found = {name for name, size in sizes.items() if not size > least} - unread
    allowed = {name for name in found for pattern in dead if re.fullmatch(pattern, name)}
    lost = sorted(found - allowed)
    assert not lost, f"no gradient reaches {len(lost)} parameters: {', '.join(lost)}"
    alive = [p for p in dead if not any(re.fullmatch(p, name) for name in allowed)]
    assert not alive, f"now reached, so no longer to be allowed: {alive}"


def unread_parameters(fusion, head, *, hw=BUILT_FOR, **how):
    """Returns the names of parameters outside the head that nothing it reads depends on.

    A head of maps leaves `pooled` and what makes only that, one of `pooled` the maps.
    """
    step = step_of(fusion, head, **how)
    params = names_and_leaves(step.params)
    images = jax.ShapeDtypeStruct((2, *hw, 3), np.float32)
    traced = jax.make_jaxpr(step.read)(step.params, step.rest, images).jaxpr
    _, used = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
    read = {name for name, is_used in zip(params, used, strict=False) if is_used}
    return {name for name in params if not name.startswith("head.")} - read
