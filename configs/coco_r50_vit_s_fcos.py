"""R50 before a ViT-S/16 with a dense head, on COCO 2017.

Command:  python -m hybrid_jax.main --config=configs/coco_r50_vit_s_fcos.py
Hardware: eight accelerators of 16 GiB or more
Time:     not yet measured
Result:   not yet measured

COCO as TFDS has prepared it, or `:coco=(IMAGES,JSON)`, both with `{split}` in them.
640 px, 36 epochs, batch 64.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r26_vit_s16")
    config.model.resnet = "r50"
    config.task.name = "detection"
    config.model.head = "fcos"
    config.model.head_options.unlock().update(
        fcos=dict(strides=(8, 16, 32), tower_channels=256, num_convs=4)
    )
    config.optimizer.update(learning_rate=2e-4, clip_norm=1.0)
    config.optimizer.branch.update(resnet=0.1, vit=0.1)
    recipe = {
        "data.image_size": 640,
        "data.scale_jitter": (0.5, 2.0),
        "data.on_bad_annotation": "skip",  # two boxes of train2017 have no area
        "train.epochs": 36.0,
        "train.batch_size": 64,
        "train.ema_decay": 0.9998,
        "eval.every": 5000,
    }
    recipes = {"coco": recipe, "coco/2017": recipe}
    return select(config, argument, default="tfds=coco/2017", **recipes)
