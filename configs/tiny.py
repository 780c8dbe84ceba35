"""tiny."""

from hybrid_jax.config import defaults
from hybrid_jax.recipes import select


def get_config(argument: str = ""):
    config = defaults("tiny")
    config.optimizer.learning_rate = 1e-3
    config.log.every = 10
    config.eval.every = 100
    config.checkpoint.every = 200
    return select(config, argument)
