"""R50 + ViT-L/32, 329 M parameters: the largest published hybrid.

Command:  python -m hybrid_jax.main --config=configs/r50_vit_l32.py
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

A CPU holds it (about 8 GB with its optimizer), slowly. `:imagenet2012` is 300 epochs at
224 px, batch 4096; not yet measured here. AugReg reports 74.2 % from scratch: it wants
ImageNet-21k first (82.7 %).
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
    "data.randaugment_layers": 2,
    "data.randaugment_magnitude": 10.0,
    "task.mixup": 0.2,
    "model.vit_options.drop_path": 0.1,
    "model.vit_options.dropout": 0.1,
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r50_vit_l32")
    config.optimizer.learning_rate = 1e-4
    config.eval.every = 40
    config.checkpoint.every = 80
    return select(config, argument, imagenet2012=IMAGENET2012)
