"""A small hybrid that finds blood cells (BCCD: 364 photos, three kinds of cells).

Command:  python -m hybrid_jax.main --config=configs/bccd_fcos.py
Hardware: one CPU core (AMD EPYC)
Time:     15 min, compilation and evaluations included
Result:   test AP 0.533, AP50 0.878; plain ResNet 0.546, 0.889
          (last checkpoint, seed 0, one run each)

The data lies in /data/BCCD or where `:voc=PATH` says.
`:fusion=resnet` is a plain ResNet of equal cost under the same recipe. The set has two
boxes without area, on purpose; they are left out and counted.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("tiny")
    config.task.name = "detection"
    config.model.head = "fcos"
    config.model.head_options.unlock().update(
        fcos=dict(strides=(8, 16), tower_channels=64, num_convs=1)
    )
    config.optimizer.learning_rate = 2e-3
    config.data.on_bad_annotation = "skip"
    recipe = {
        "data.image_size": (192, 256),
        "data.scale_jitter": (0.8, 1.25),
        "data.color_jitter": 0.2,
        "data.max_boxes": 64,
        "train.epochs": 30.0,
        "train.batch_size": 8,
        "eval.every": 200,
    }
    config = select(config, argument, default="voc=/data/BCCD", voc=recipe)
    if config.model.fusion == "resnet":
        config.model.resnet_options.blocks = (2, 2, 2)  # the hybrid's cost, 0.58 GMAC
    return config
