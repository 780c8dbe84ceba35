"""One learning rate for both halves, or a factor on the rate of the ViT.

Command:  python -m hybrid_jax.main --mode=study --config=studies/branch_rates_cifar
Hardware: one CPU core
Time:     about 50 min beside other work (18 runs)
Result:   a ViT at 0.3 of the rate: 0.515, at the same rate: 0.466 (docs/tips.md)

`:folder=DIR,fusion=conformer` names the data, and another fusion than `sequential`.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

FACTORS = {"together": 1.0, "vit_slower": 0.3, "vit_faster": 3.0}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`."""
    return study_config(
        named(f"cifar_small:{argument}"),
        variants={
            name: {"optimizer.branch.vit": factor} for name, factor in FACTORS.items()
        },
        grid={"optimizer.learning_rate": (5e-4, 1.5e-3, 4e-3, 1e-2)},
        baseline="together",
    )
