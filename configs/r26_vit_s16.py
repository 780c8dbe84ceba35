"""R26 and ViT-S/16, wired in any way: the budget at which the fusions are compared.

Command:  python -m hybrid_jax.main --config=configs/r26_vit_s16.py:fusion=conformer
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

`:fusion=NAME` takes any name of `hybrid_jax.list_fusions()`; without it the wiring is
`sequential`, 27.8 M parameters. `fusion.OPTION=VALUE` sets the wiring's own options:
`:fusion=dual_embed,fusion.merge=gated`. `--mode=profile` says what any of them costs.
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
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r26_vit_s16")
    config.optimizer.learning_rate = 3e-4
    config.eval.every = 40
    config.checkpoint.every = 80
    return select(config, argument, imagenet2012=IMAGENET2012)
