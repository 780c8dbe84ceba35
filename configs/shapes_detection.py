"""A hybrid of 1.3 M parameters that finds shapes: detection with no download.

Command:  python -m hybrid_jax.main --config=configs/shapes_detection.py
Hardware: two CPU cores (AMD EPYC), a device each: JAX_NUM_CPU_DEVICES=2
Time:     11 min 51 s, compilation and three evaluations included
Result:   test AP 0.541, AP50 0.764 (last checkpoint, seed 0, one run)

`:fusion=NAME` takes any fusion, `:head=detr` the other kind of head (which needs a schedule
many times as long: sets of boxes learn slowly from scratch).
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("tiny")
    config.task.name = "detection"
    config.task.detection.nms_candidates = 300
    config.model.head = "fcos"
    config.model.head_options.unlock().update(
        fcos=dict(strides=(4,), tower_channels=64, num_convs=2)
    )
    config.optimizer.learning_rate = 2e-3
    config.eval.batch_size = 50
    config.log.every = 50
    # The test split has the sizes of the training split: jitter only makes it slower.
    recipe = {
        "data.max_boxes": 16,
        "train.epochs": 9.0,
        "train.batch_size": 32,
        "eval.every": 750,
    }
    return select(config, argument, default="shapes", shapes=recipe)
