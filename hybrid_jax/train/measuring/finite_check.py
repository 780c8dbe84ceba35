"""Stopping a run whose numbers have gone bad, before they reach a checkpoint."""

import math
from collections.abc import Mapping

from hybrid_jax.errors import UserError


class NonFiniteError(UserError):
    """A loss or a gradient is NaN or infinite."""


def check_finite(
    step: int,
    scalars: Mapping[str, float],
    *,
    learning_rate: float,
    last_saved: int | None,
) -> None:
    """Raises `NonFiniteError` if the loss or any gradient norm is not finite.

    Args:
        step: the step the scalars belong to.
        scalars: `loss` and gradient norms on the host.
        learning_rate: at this step, for the report.
        last_saved: step of the newest checkpoint, or None.
    """
    if all(math.isfinite(value) for value in scalars.values()):
        return
    values = "\n".join(f"    {name} = {value}" for name, value in scalars.items())
    kept = (
        f"the checkpoint of step {last_saved} is from before it and intact"
        if last_saved is not None
        else "no checkpoint had been written yet"
    )
    raise NonFiniteError(
        f"training stopped: step {step} is not finite (learning rate "
        f"{learning_rate:.3g}):\n{values}\n  Nothing was saved after it; {kept}. "
        f"Try a lower optimizer.learning_rate, a longer optimizer.warmup_fraction, a "
        f"smaller optimizer.clip_norm, or model.dtype=float32; --workdir can be used "
        f"again only with the same optimizer, so name a new one."
    )
