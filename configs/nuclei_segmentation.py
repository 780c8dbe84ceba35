"""A small hybrid that tells cell nuclei from background (DSB 2018).

Command:  python -m hybrid_jax.main --config=configs/nuclei_segmentation.py
Hardware: one CPU core (AMD EPYC)
Time:     13 min, compilation and evaluations included
Result:   validation mIoU 0.870; plain ResNet 0.873
          (last checkpoint, seed 0, one run each)

The data lies in /data/nuclei or where `:seg=(IMAGES,MASKS)` says.
`:fusion=resnet` is a plain ResNet of equal cost under the same recipe.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("tiny")
    config.task.name = "segmentation"
    config.model.head = "fpn"
    config.model.head_options.unlock().update(
        fpn=dict(strides=(4, 8, 16), hidden_dim=64, auxiliary=False, dropout=0.0)
    )
    config.optimizer.learning_rate = 2e-3
    recipe = {
        "data.image_size": 192,
        "data.scale_jitter": (0.7, 1.5),
        "data.color_jitter": 0.2,
        "train.epochs": 24.0,
        "train.batch_size": 8,
        "eval.every": 200,
    }
    nuclei = "seg=(/data/nuclei/images,/data/nuclei/masks)"
    config = select(config, argument, default=nuclei, seg=recipe)
    if config.model.fusion == "resnet":
        config.model.resnet_options.blocks = (1, 2, 2)  # the hybrid's cost, 0.60 GMAC
    return config
