"""R26 + ViT-B/16."""

from hybrid_jax.config import defaults
from hybrid_jax.recipes import select


def get_config(argument: str = ""):
    config = defaults("r26_vit_b16")
    config.optimizer.learning_rate = 1e-4
    config.log.every = 10
    config.eval.every = 100
    config.checkpoint.every = 200
    return select(config, argument)
