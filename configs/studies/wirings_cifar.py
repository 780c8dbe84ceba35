"""Which wiring for small photos: a ResNet, a ViT and their combinations at equal compute.

Command:  python -m hybrid_jax.main --mode=study --config=studies/wirings_cifar:folder=DIR
Hardware: one CPU core (AMD EPYC)
Time:     about 3 h (90 runs)
Result:   test top-1: bifusion 0.532, resnet 0.517, vit 0.409 (docs/tips.md)

All variants have the multiply-accumulates of the ResNet within 10 %. Patches are of 4 px,
but of 8 px for `simple_fpn` and `vit_comer`, which refuse smaller ones. The maps that
`simple_fpn` adds get no gradient from a head that reads one vector, so here it scores as
its ViT of six blocks over 16 tokens.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_BLOCKS, _DEPTH = "model.resnet_options.blocks", "model.vit_options.depth"
_WIDTH, _MLP = "model.vit_options.width", "model.vit_options.mlp_dim"
_PATCH, _HEADS = "model.vit_options.patch_size", "model.vit_options.num_heads"
_OPTIONS = "model.fusion_options"

VARIANTS = {
    "resnet": {_BLOCKS: (2, 4, 2)},
    "vit": {_DEPTH: 4},
    "conv_stem": {
        _HEADS: 6,
        _WIDTH: 96,
        _DEPTH: 7,
        _MLP: 288,
    },
    "sequential": {_BLOCKS: (2,), _DEPTH: 3, _MLP: 128},
    "late_concat": {},
    "dual_embed": {_MLP: 128},
    "cross_attention": {
        f"{_OPTIONS}.cross_attention.query_stride": 8,
        f"{_OPTIONS}.cross_attention.exchanges": (2,),
        _BLOCKS: (1, 1),
        _WIDTH: 48,
        _MLP: 96,
    },
    "fpn_tokens": {
        f"{_OPTIONS}.fpn_tokens.channels": 96,
        _DEPTH: 5,
        _WIDTH: 48,
        _MLP: 144,
    },
    "conformer": {_WIDTH: 56, _MLP: 128},
    "mobile_former": {_BLOCKS: (2, 3, 2)},
    "botnet": {_BLOCKS: (2, 4, 2)},
    "stage_swap": {_BLOCKS: (3, 5, 2)},
    "rtdetr_encoder": {_BLOCKS: (2, 2, 1)},
    "sta": {_MLP: 96},
    "vit_adapter": {_WIDTH: 48, _MLP: 144},
    "vit_comer": {_PATCH: 8},
    "bifusion": {_BLOCKS: (1, 1), _WIDTH: 48, _MLP: 96},
    "simple_fpn": {
        f"{_OPTIONS}.simple_fpn.channels": 16,
        _PATCH: 8,
        _DEPTH: 6,
        _HEADS: 6,
        _WIDTH: 96,
        _MLP: 288,
    },
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`."""
    return study_config(
        named(f"cifar_small:{argument}"),
        variants={
            fusion: {"model.fusion": fusion} | changes
            for fusion, changes in VARIANTS.items()
        },
        grid={"optimizer.learning_rate": (5e-4, 1.5e-3, 4e-3)},
        baseline="resnet",
        matched="macs",
    )
