"""`rotation`: images turned about their centers, all the way round."""

import jax

from hybrid_jax.robustness.moving.motion import Motion
from hybrid_jax.robustness.moving.motion_suite import MotionSuite
from hybrid_jax.robustness.suites import SUITES

_ONE_WAY = (15.0, 30.0, 45.0, 60.0, 90.0, 120.0, 150.0)


@SUITES.register("rotation")
class Rotation(MotionSuite):
    """Half a turn to either side, in smaller steps near the upright image."""

    axis = "angle, degrees counterclockwise"
    neutral = 0.0
    lines = {"rotation": (*(-x for x in reversed(_ONE_WAY)), *_ONE_WAY, 180.0)}

    def motion(self, line: str, strength: float | jax.Array) -> Motion:
        """Returns the turn."""
        return Motion(degrees=strength)
