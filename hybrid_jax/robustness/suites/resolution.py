"""`resolution`: images made smaller and brought back to their size."""

import jax

from hybrid_jax.robustness.suite import Draw, ImageSuite
from hybrid_jax.robustness.suites import SUITES


@SUITES.register("resolution")
class Resolution(ImageSuite):
    """Made smaller with antialiasing, made larger again bilinearly."""

    axis = "smaller size, share of the sides"
    neutral = 1.0
    lines = {"down_and_up": (0.125, 0.25, 0.375, 0.5, 0.75)}
    compiled_for_each_strength = True

    def image(self, image: jax.Array, draw: Draw) -> jax.Array:
        """Returns the image without its finer detail."""
        small = [max(1, round(side * float(draw.strength))) for side in image.shape[:2]]
        less = jax.image.resize(image, (*small, 3), "linear", antialias=True)
        return jax.image.resize(less, image.shape, "linear")
