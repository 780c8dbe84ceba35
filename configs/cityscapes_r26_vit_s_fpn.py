"""R26 before a ViT-S/16 with pyramid pooling and FPN, on Cityscapes.

Command:  python -m hybrid_jax.main --config=configs/cityscapes_r26_vit_s_fpn.py
Hardware: eight accelerators of 16 GiB or more
Time:     not yet measured
Result:   not yet measured

Cityscapes as TFDS has prepared it, or `:seg=(IMAGES,MASKS)`.
Crops of 512x1024 px, evaluation in windows over the whole 1024x2048 px.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r26_vit_s16")
    config.task.name = "segmentation"
    config.task.segmentation.inference = "slide"
    config.model.head = "fpn"
    config.model.head_options.unlock().update(fpn=dict(hidden_dim=256))
    config.optimizer.update(learning_rate=1e-4, clip_norm=1.0)
    recipe = {
        "data.image_size": (512, 1024),
        "data.scale_jitter": (1.0, 4.0),
        "data.color_jitter": 0.3,
        "train.epochs": 200.0,
        "train.batch_size": 16,
        "eval.batch_size": 8,
        "eval.image_size": (1024, 2048),
        "eval.every": 5000,
    }
    return select(config, argument, default="tfds=cityscapes", cityscapes=recipe)
