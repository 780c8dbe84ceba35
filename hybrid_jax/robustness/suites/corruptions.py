"""`corruptions`: those of ImageNet-C at their five severities."""

import jax
import jax.numpy as jnp

from hybrid_jax.robustness.corruptions import CORRUPTIONS, corrupt
from hybrid_jax.robustness.corruptions.levels import SEVERITIES
from hybrid_jax.robustness.suite import Batch, Draw, LossGradient, Suite, within_content
from hybrid_jax.robustness.suites import SUITES


@SUITES.register("corruptions")
class Corruptions(Suite):
    """Noise, blur, weather and compression, one program for each severity."""

    axis = "severity"
    neutral = 0
    lines = dict.fromkeys(CORRUPTIONS, SEVERITIES)
    compiled_for_each_strength = True

    def change(
        self, batch: Batch, draw: Draw, *, loss_gradient: LossGradient
    ) -> dict[str, jax.Array]:
        """Returns `image`, cut to whole numbers as where the reference stores it."""
        del loss_gradient
        changed = corrupt(
            batch["image"],
            draw.key,
            name=draw.line,
            severity=int(draw.strength),
            index=batch["index"],
        )
        return dict(image=within_content(changed.astype(jnp.uint8), batch))
