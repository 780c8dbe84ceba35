"""A hybrid and its two halves on shapes, also where the test images are not as in training.

Command:  python -m hybrid_jax.main --mode=study --config=configs/studies/halves_shapes.py
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

The parts are those of `configs/tiny.py`, about 1.0 M parameters each. The further test
splits have noise, bars over the objects, and objects smaller or larger than in training.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

VARIANTS = {
    "resnet": {
        "model.fusion": "resnet",
        "model.resnet_options.blocks": (2, 4, 2),
    },
    "vit": {
        "model.fusion": "vit",
        "model.vit_options.patch_size": 8,
        "model.vit_options.depth": 5,
    },
    "sequential": {"model.fusion": "sequential"},
}
SHIFTED = ("test_noise", "test_bars", "test_small", "test_large")


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`, shapes without one."""
    base = named(f"tiny:{argument or 'shapes'}")
    return study_config(
        base,
        variants=VARIANTS,
        grid={"optimizer.learning_rate": (3e-4, 1e-3, 3e-3)},
        baseline="resnet",
        evaluations={split: {"eval.split": split} for split in SHIFTED},
    )
