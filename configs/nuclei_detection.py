"""A small hybrid that finds cell nuclei, up to hundreds in one photo (DSB 2018).

Command:  python -m hybrid_jax.main --config=configs/nuclei_detection.py
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

The data lies in /data/nuclei or where `:coco=(IMAGES,JSON)` says.
Objects beyond 400 in one crop would be left out and counted; no crop has so many. COCO's
AP takes the 100 best boxes of an image, so photos with more nuclei cannot reach 1; the
results file and `--mode=predict` have up to 400.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("tiny")
    config.task.name = "detection"
    config.task.detection.max_detections = 400
    config.model.head = "fcos"
    config.model.head_options.unlock().update(
        fcos=dict(strides=(4, 8), tower_channels=64, num_convs=1)
    )
    config.optimizer.learning_rate = 2e-3
    recipe = {
        "data.image_size": 256,
        "data.scale_jitter": (0.7, 1.5),
        "data.color_jitter": 0.2,
        "data.max_boxes": 400,
        "train.epochs": 60.0,
        "train.batch_size": 8,
        "eval.every": 500,
    }
    nuclei = "/data/nuclei/images/{split},/data/nuclei/annotations/instances_{split}.json"
    return select(config, argument, default=f"coco=({nuclei})", coco=recipe)
