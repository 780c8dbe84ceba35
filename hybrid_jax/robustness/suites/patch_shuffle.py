"""`patch_shuffle`: images cut into squares that change places.

What is left is texture; the shape is gone. A model that keeps its accuracy has read the
texture (Naseer et al., "Intriguing Properties of Vision Transformers", 2021).
"""

import jax

from hybrid_jax.robustness.suite import Draw, ImageSuite
from hybrid_jax.robustness.suites import SUITES


@SUITES.register("patch_shuffle")
class PatchShuffle(ImageSuite):
    """Each image has an order of its own. Rows and columns beyond a multiple stay."""

    axis = "squares along each side"
    neutral = 1
    lines = {"patch_shuffle": (2, 3, 4, 6, 8)}
    tasks = ("classification",)
    compiled_for_each_strength = True

    def image(self, image: jax.Array, draw: Draw) -> jax.Array:
        """Returns the image with its squares in a random order."""
        n = int(draw.strength)
        h, w = image.shape[0] // n, image.shape[1] // n
        if min(h, w) < 1:
            return image
        squares = image[: n * h, : n * w].reshape(n, h, n, w, 3).swapaxes(1, 2)
        squares = jax.random.permutation(draw.key, squares.reshape(n * n, h, w, 3))
        shuffled = squares.reshape(n, n, h, w, 3).swapaxes(1, 2).reshape(n * h, n * w, 3)
        return image.at[: n * h, : n * w].set(shuffled)
