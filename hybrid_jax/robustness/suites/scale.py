"""`scale`: images that show everything smaller or larger."""

import jax

from hybrid_jax.robustness.moving.motion import Motion
from hybrid_jax.robustness.moving.motion_suite import MotionSuite
from hybrid_jax.robustness.suites import SUITES


@SUITES.register("scale")
class Scale(MotionSuite):
    """From half to twice the size, about the center.

    Samples are bilinear, without a blur before: at half the size they are means of 2x2 px,
    and in between fine patterns are aliased a little.
    """

    axis = "zoom, times the usual size"
    neutral = 1.0
    lines = {"scale": (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 1.75, 2.0)}

    def motion(self, line: str, strength: float | jax.Array) -> Motion:
        """Returns the zoom."""
        return Motion(zoom=strength)
