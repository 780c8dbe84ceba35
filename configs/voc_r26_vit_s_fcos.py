"""R26 before a ViT-S/16 with a dense head, on Pascal VOC 2012.

Command:  python -m hybrid_jax.main --config=configs/voc_r26_vit_s_fcos.py
Hardware: eight accelerators of 16 GiB or more
Time:     not yet measured
Result:   not yet measured

The data lies in /data/VOCdevkit/VOC2012 or where `:voc=PATH` says.
Meant to begin with published weights: `,pretrained=` or `--config.model.pretrained_vit=`.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r26_vit_s16")
    config.task.name = "detection"
    config.model.head = "fcos"
    config.optimizer.update(learning_rate=2e-4, clip_norm=1.0)
    recipe = {
        "data.image_size": 512,
        "data.scale_jitter": (0.5, 2.0),
        "train.epochs": 72.0,
        "train.batch_size": 64,
    }
    return select(config, argument, default="voc=/data/VOCdevkit/VOC2012", voc=recipe)
