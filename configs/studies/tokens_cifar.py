"""How many tokens: the ViT over a ResNet's map at stride 4, 8 or 16, at equal compute.

Command:  python -m hybrid_jax.main --mode=study --config=studies/tokens_cifar:folder=DIR
Hardware: one CPU core (AMD EPYC)
Time:     about 35 min (15 runs)
Result:   test top-1: stride 4 0.437, 8 0.384, 16 0.361 (docs/tips.md)

64, 16 or 4 tokens of a photo of 32 px. What a coarser map saves goes into blocks.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_STRIDE = "model.fusion_options.sequential.stride"
_BLOCKS, _DEPTH = "model.resnet_options.blocks", "model.vit_options.depth"

VARIANTS = {
    "stride4": {_STRIDE: 4, _BLOCKS: (2,), _DEPTH: 3, "model.vit_options.mlp_dim": 128},
    "stride8": {_STRIDE: 8, _BLOCKS: (2, 3), _DEPTH: 5},
    "stride16": {_STRIDE: 16, _BLOCKS: (2, 3, 2), _DEPTH: 8},
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`."""
    return study_config(
        named(f"cifar_small:{argument}"),
        variants={
            name: {"model.fusion": "sequential"} | changes
            for name, changes in VARIANTS.items()
        },
        grid={"optimizer.learning_rate": (5e-4, 1.5e-3, 4e-3)},
        baseline="stride8",
        matched="macs",
    )
