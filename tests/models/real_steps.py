"""Training steps that are computed, on random parameters of small models."""

import jax
import numpy as np
import pytest
from parameters import names_and_leaves, random_like
from small_fusion import BUILT_FOR
from task_batches import batch_for
from task_steps import step_of


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


def check_parts_are_reached(sizes):
    """Raises unless some parameter of each part of the model has a gradient."""
    for part in ("backbone", "pyramid", "head"):
        of_part = [size for name, size in sizes.items() if name.startswith(f"{part}.")]
        assert not of_part or max(of_part) > 0.0, f"no gradient reaches the {part}"
