"""Hybrids whose ViT learns at 0.3 of the rate, against the ResNet, at equal compute.

Command:  python -m hybrid_jax.main --mode=study --config=studies/slower_vit_cifar
Hardware: one CPU core
Time:     about 50 min beside other work (25 runs)
Result:   `bifusion` 0.538, ResNet 0.517, `sequential` 0.486 (docs/tips.md)

The data lies in /data/cifar10 or where `:folder=DIR` says. Sizes are those of
`studies/wirings_cifar`; `studies/branch_rates_cifar` compares the factors for one fusion.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named

FUSIONS = ("sequential", "late_concat", "conformer", "bifusion")
FACTOR = 0.3


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`."""
    config = named(f"studies/wirings_cifar:{argument}")
    variants = config.study.variants
    with config.unlocked():
        config.study.variants = {"resnet": variants.resnet}
        for fusion in FUSIONS:
            variants[fusion].optimizer = dict(branch=dict(vit=FACTOR))
            config.study.variants[f"{fusion}_slower"] = variants[fusion]
        # Higher than in `studies/wirings_cifar`: the ViT gets 0.3 of it.
        config.study.grid.optimizer.learning_rate = (1.5e-3, 4e-3, 1e-2)
    return config
