"""`noise`: Gaussian noise from the invisible to the overwhelming."""

import jax

from hybrid_jax.robustness.suite import Draw, ImageSuite
from hybrid_jax.robustness.suites import SUITES


@SUITES.register("noise")
class Noise(ImageSuite):
    """Independent noise of every value, the same draw at every strength."""

    axis = "standard deviation, gray levels"
    neutral = 0.0
    lines = {"gaussian": (4.0, 8.0, 16.0, 32.0, 64.0, 96.0)}

    def image(self, image: jax.Array, draw: Draw) -> jax.Array:
        """Returns the noisy image, not yet cut."""
        return image + draw.strength * jax.random.normal(draw.key, image.shape)
