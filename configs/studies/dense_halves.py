"""Boxes or masks: a hybrid against a ResNet of equal cost, on an experiment of yours.

Command:  python -m hybrid_jax.main --mode=study --config=studies/dense_halves
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

After the colon is an experiment, and after another one its data: `shapes_detection`
(default), `shapes_segmentation:shapes`, `bccd_fcos:voc=/data/BCCD`. The data need a split
for training, one for validation and one for the test.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` is EXPERIMENT or EXPERIMENT:ARGUMENT."""
    name, _, words = (argument or "shapes_detection").partition(":")
    # The experiments give the plain ResNet the cost of the hybrid, as they say.
    resnet = named(f"{name}:{words},fusion=resnet" if words else f"{name}:fusion=resnet")
    base = named(argument or name)
    blocks = resnet.model.resnet_options.blocks
    return study_config(
        base,
        variants={
            "resnet": {
                "model.fusion": "resnet",
                "model.resnet_options.blocks": blocks,
            },
            "sequential": {"model.fusion": "sequential"},
        },
        grid={"optimizer.learning_rate": (5e-4, 1e-3, 2e-3)},
        baseline="resnet",
        matched="none",
    )
