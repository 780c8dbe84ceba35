"""R26 + ViT-B/16: the hybrid between a ResNet-26 and a ViT-B, 92 M parameters.

Command:  python -m hybrid_jax.main --config=configs/r26_vit_b16.py
Hardware: two CPU cores
Time:     4 min 34 s (160 steps of 32 images at 64 px; 24 images/s once compiled)
Result:   0.938 validation accuracy on digits (seed 0, one run)

Without an argument it trains on the embedded digits, at 64 px on a CPU and 224 px on an
accelerator (`config.hardware`). `:imagenet2012` is 300 epochs at 224 px, batch 4096, for
32 accelerators of 32 GB or more (set `--config.train.accumulate` on fewer); its result is
not yet measured. The published neighbor R26+S/32 reached 81.6 % at 384 px this way.
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
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r26_vit_b16")
    config.optimizer.learning_rate = 1e-4
    config.eval.every = 40
    config.checkpoint.every = 80
    return select(config, argument, imagenet2012=IMAGENET2012)
