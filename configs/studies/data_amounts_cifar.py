"""How much data: who wins on 2, 10, 50 and 100 % of the photos, at equal compute.

Command:  python -m hybrid_jax.main --mode=study --config=studies/data_amounts_cifar
Hardware: one CPU core
Time:     about two hours for four fusions (80 runs)
Result:   no crossing: the ResNet is never behind (docs/tips.md)

The data lies in /data/cifar10 or where `:folder=DIR` says. Shares are taken class by class,
smaller ones within larger ones, and every run has the same number of steps. A variant is
compared with the ResNet on as much data. Those on all data are variants of
`studies/wirings_cifar`, and their runs are found in the same workdir.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_BLOCKS = "model.resnet_options.blocks"
FUSIONS = {  # as in `studies/wirings_cifar`, with the multiply-accumulates of the ResNet
    "resnet": {_BLOCKS: (2, 4, 2)},
    "vit": {"model.vit_options.depth": 4},
    "sequential": {
        _BLOCKS: (2,),
        "model.vit_options.depth": 3,
        "model.vit_options.mlp_dim": 128,
    },
    "late_concat": {},
    "conformer": {"model.vit_options.width": 56, "model.vit_options.mlp_dim": 128},
}
SHARES = {"_2": 0.02, "_10": 0.1, "_50": 0.5, "": 1.0}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`."""
    variants = {
        f"{fusion}{ending}": {
            "model.fusion": fusion,
            "data.train_fraction": share,
            **changes,
        }
        for ending, share in SHARES.items()
        for fusion, changes in FUSIONS.items()
    }
    return study_config(
        named(f"cifar_small:{argument}"),
        variants=variants,
        grid={"optimizer.learning_rate": (5e-4, 1.5e-3, 4e-3)},
        baseline="resnet",
        baselines={
            f"{fusion}{ending}": f"resnet{ending}"
            for ending in SHARES
            for fusion in FUSIONS
            if fusion != "resnet"
        },
        matched="macs",
    )
