"""DPT-hybrid (Ranftl et al., 2021): R50+ViT-B/16 with the DPT decoder, on ADE20K.

Command:  python -m hybrid_jax.main --config=configs/ade20k_dpt_hybrid.py
Hardware: eight accelerators of 16 GiB or more
Time:     not yet measured
Result:   not yet measured

The data lies in /data/ade20k or where `:seg=(IMAGES,MASKS)` says.
Its authors report 49.02 mIoU with pretrained parts. 480 px crops, windows in evaluation;
ADE20K's 0 means `other` and becomes void.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("r50_vit_b16")
    config.task.name = "segmentation"
    config.task.segmentation.inference = "slide"
    config.model.head = "dpt"
    config.model.head_options.unlock().update(
        dpt=dict(strides=(4, 8), taps=(8, 11), auxiliary=True)
    )
    config.optimizer.update(learning_rate=1e-4, clip_norm=1.0)
    config.optimizer.branch.update(resnet=0.1, vit=0.1)
    recipe = {
        "data.reduce_zero_label": True,
        "data.image_size": 480,
        "data.scale_jitter": (0.5, 2.0),
        "data.color_jitter": 0.3,
        "train.epochs": 240.0,
        "train.batch_size": 48,
        "eval.image_size": (640, 640),
        "eval.every": 5000,
    }
    ade20k = "seg=(/data/ade20k/images,/data/ade20k/annotations)"
    recipes = {"seg": recipe, "scene_parse150": recipe}
    return select(config, argument, default=ade20k, **recipes)
