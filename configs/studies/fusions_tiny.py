"""Three fusions of the tiny parts against a ResNet and a ViT, equal in parameters.

Command:  python -m hybrid_jax.main --mode=study --config=configs/studies/fusions_tiny.py
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

Data: digits (default), `:shapes`, or any other, with words as in `recipes.select`.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

VARIANTS = {
    "resnet": {
        "model.fusion": "resnet",
        "model.resnet_options.blocks": (2, 3, 2),
    },
    "vit": {
        "model.fusion": "vit",
        "model.vit_options.depth": 10,
    },
    "sequential": {
        "model.fusion": "sequential",
        "model.vit_options.depth": 7,
    },
    "late_concat": {"model.fusion": "late_concat"},
    "conformer": {"model.fusion": "conformer"},
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`, digits without one."""
    base = named(f"tiny_fusions:{argument or 'digits'}")
    base.train.update(steps=300, batch_size=32)
    base.data.image_size = 64
    base.eval.every = 100
    base.checkpoint.every = 100
    return study_config(
        base,
        variants=VARIANTS,
        grid={"optimizer.learning_rate": (2e-4, 5e-4, 1e-3, 2e-3)},
        baseline="resnet",
        seeds=(0, 1, 2),
    )
