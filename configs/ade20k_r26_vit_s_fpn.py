"""R26 before a ViT-S/16 with pyramid pooling and FPN (UPerNet-lite), on ADE20K.

Command:  python -m hybrid_jax.main --config=configs/ade20k_r26_vit_s_fpn.py
Hardware: eight accelerators of 16 GiB or more
Time:     not yet measured
Result:   not yet measured

The data lies in /data/ade20k or where `:seg=(IMAGES,MASKS)` says.
512 px; ADE20K's 0 means `other` and becomes void.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r26_vit_s16")
    config.task.name = "segmentation"
    config.model.head = "fpn"
    config.model.head_options.unlock().update(fpn=dict(hidden_dim=256))
    config.optimizer.update(learning_rate=1e-4, clip_norm=1.0)
    recipe = {
        "data.reduce_zero_label": True,
        "data.image_size": 512,
        "data.scale_jitter": (0.5, 2.0),
        "data.color_jitter": 0.3,
        "train.epochs": 127.0,
        "train.batch_size": 16,
        "eval.every": 8000,
    }
    ade20k = "seg=(/data/ade20k/images,/data/ade20k/annotations)"
    recipes = {"seg": recipe, "scene_parse150": recipe}
    return select(config, argument, default=ade20k, **recipes)
