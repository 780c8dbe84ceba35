"""`attacks`: small changes of pixels that raise the model's own loss.

The perturbation is one of pixels as files hold them, 0 to 255, before normalization: no
value moves further than the strength, and none leaves [0, 255]. The loss is the one that
evaluation reports (without label smoothing), of boxes and masks too.
"""

import jax
import jax.numpy as jnp

from hybrid_jax.robustness.suite import (
    Batch,
    Draw,
    LossGradient,
    Suite,
    keys_of,
    within_content,
)
from hybrid_jax.robustness.suites import SUITES

PGD_STEPS = 10
_TOTAL_PATH = 2.5  # of all steps of PGD, as a multiple of the strength


@SUITES.register("attacks")
class Attacks(Suite):
    """One step along the gradient's sign, and ten from a random start.

    `fgsm` is Goodfellow et al., "Explaining and Harnessing Adversarial Examples", 2015;
    `pgd` Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
    2018, L-infinity, with their step of 2.5 strengths by the number of steps. Attacked
    values are not rounded. These attacks are weak ones: a score under them is an upper
    bound of what is left under the strongest.
    """

    axis = "largest change of a value, gray levels"
    neutral = 0.0
    lines = dict.fromkeys(("fgsm", "pgd"), (1.0, 2.0, 4.0, 8.0))
    gradients = dict(fgsm=1, pgd=PGD_STEPS)

    def change(
        self, batch: Batch, draw: Draw, *, loss_gradient: LossGradient
    ) -> dict[str, jax.Array]:
        """Returns `image` float32 in [0, 255]; padding stays."""
        image, reach = batch["image"].astype(jnp.float32), draw.strength
        low, high = jnp.maximum(image - reach, 0.0), jnp.minimum(image + reach, 255.0)

        def stepped(attacked: jax.Array, size: float | jax.Array) -> jax.Array:
            moved = attacked + size * jnp.sign(loss_gradient(attacked))
            return within_content(jnp.clip(moved, low, high), batch)

        if draw.line == "fgsm":
            return dict(image=stepped(image, reach))

        def start(key: jax.Array) -> jax.Array:
            return jax.random.uniform(key, image.shape[1:], minval=-1.0, maxval=1.0)

        away = image + reach * jax.vmap(start)(keys_of(batch, draw))
        away = within_content(jnp.clip(away, low, high), batch)
        size = _TOTAL_PATH / PGD_STEPS * reach
        attacked = jax.lax.fori_loop(0, PGD_STEPS, lambda _, x: stepped(x, size), away)
        return dict(image=attacked)
