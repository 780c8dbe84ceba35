"""R + ViT-Ti/16: a ResNet's root block and a tiny ViT, 6.3 M parameters.

Command:  python -m hybrid_jax.main --config=configs/r_vit_ti16.py
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

Its tokens are 32 px apart in spite of the published name, so 64 px images give four of
them. `:imagenet2012` is 300 epochs at 224 px, batch 4096; not yet measured here. AugReg
reports 67.3 %.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select

# ImageNet-1k from scratch, AugReg's recipe (Steiner et al., 2021).
IMAGENET2012 = {
    "train.epochs": 300.0,
    "train.batch_size": 4096,
    "optimizer.learning_rate": 0.001,
    "optimizer.weight_decay": 0.1,
    "optimizer.warmup_fraction": 0.1,
    "optimizer.clip_norm": 1.0,
    "data.randaugment_layers": 0,
    "data.randaugment_magnitude": 10.0,
    "task.mixup": 0.0,
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r_vit_ti16")
    config.optimizer.learning_rate = 1e-3
    config.eval.every = 40
    config.checkpoint.every = 80
    return select(config, argument, imagenet2012=IMAGENET2012)
