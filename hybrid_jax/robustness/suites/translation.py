"""`translation`: images shifted along either axis."""

import jax

from hybrid_jax.robustness.moving.motion import Motion
from hybrid_jax.robustness.moving.motion_suite import MotionSuite
from hybrid_jax.robustness.suites import SUITES

_SHARES = (-0.3, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.3)


@SUITES.register("translation")
class Translation(MotionSuite):
    """Shares of a side that are no multiples of a patch at the usual sizes."""

    axis = "shift, share of the side"
    neutral = 0.0
    lines = {"down": _SHARES, "right": _SHARES}

    def motion(self, line: str, strength: float | jax.Array) -> Motion:
        """Returns the shift."""
        return Motion(down=strength) if line == "down" else Motion(right=strength)
