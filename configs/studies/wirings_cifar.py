"""Which wiring for which budget: a ResNet, a ViT and their combinations on small photos.

Command:  python -m hybrid_jax.main --mode=study --config=studies/wirings_cifar:folder=DIR
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

The data: `folder=PATH` of photos, 32 px, in `train`, `val` and `test`. All variants have
the multiply-accumulates of the ResNet within 10 %.
"""

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_BLOCKS, _DEPTH = "model.resnet_options.blocks", "model.vit_options.depth"

_MLP = "model.vit_options.mlp_dim"
_WIDE = {"model.vit_options.width": 96, "model.vit_options.num_heads": 6}
_NARROW = {"model.vit_options.width": 48, _MLP: 144}

VARIANTS = {
    "resnet": {"model.fusion": "resnet", _BLOCKS: (2, 4, 2)},
    "vit": {"model.fusion": "vit", _DEPTH: 4},
    "conv_stem": {"model.fusion": "conv_stem", _DEPTH: 7, _MLP: 288, **_WIDE},
    "sequential": {
        "model.fusion": "sequential",
        "model.fusion_options.sequential.stride": 4,
        _BLOCKS: (2,),
        _DEPTH: 3,
        _MLP: 128,
    },
    "sequential8": {
        "model.fusion": "sequential",
        "model.fusion_options.sequential.stride": 8,
        _BLOCKS: (2, 3),
        _DEPTH: 5,
    },
    "late_concat": {"model.fusion": "late_concat", _BLOCKS: (1, 1, 1), _DEPTH: 2},
    "dual_embed": {
        "model.fusion": "dual_embed",
        _BLOCKS: (1, 1, 1),
        _DEPTH: 2,
        _MLP: 128,
    },
    "cross_attention": {
        "model.fusion": "cross_attention",
        "model.fusion_options.cross_attention.query_stride": 8,
        "model.fusion_options.cross_attention.exchanges": (2,),
        _BLOCKS: (1, 1),
        _DEPTH: 2,
        **_NARROW,
        _MLP: 96,
    },
    "fpn_tokens": {
        "model.fusion": "fpn_tokens",
        "model.fusion_options.fpn_tokens.channels": 96,
        _BLOCKS: (1, 1, 1),
        _DEPTH: 5,
        **_NARROW,
    },
    "conformer": {
        "model.fusion": "conformer",
        _BLOCKS: (1, 1, 1),
        _DEPTH: 2,
        _MLP: 128,
        "model.vit_options.width": 56,
    },
    "mobile_former": {
        "model.fusion": "mobile_former",
        _BLOCKS: (2, 3, 2),
        _DEPTH: 2,
    },
    "botnet": {"model.fusion": "botnet", _BLOCKS: (2, 4, 2), _DEPTH: 2},
    "stage_swap": {"model.fusion": "stage_swap", _BLOCKS: (3, 5, 2), _DEPTH: 2},
    "rtdetr_encoder": {"model.fusion": "rtdetr_encoder", _BLOCKS: (1, 2, 1), _DEPTH: 2},
    "sta": {"model.fusion": "sta", _BLOCKS: (1, 1, 1), _DEPTH: 2, _MLP: 96},
    "vit_adapter": {
        "model.fusion": "vit_adapter",
        _BLOCKS: (1, 1, 1),
        _DEPTH: 2,
        **_NARROW,
    },
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`."""
    base = named(f"tiny_fusions:{argument}")
    base.model.vit_options.update(width=64, num_heads=4, mlp_dim=192, patch_size=4)
    base.train.update(steps=1200, batch_size=32)
    base.data.update(image_size=32, crop="pad", pad_px=4, eval_crop=1.0)
    base.eval.every = 400
    base.checkpoint.every = 400
    return study_config(
        base,
        variants=VARIANTS,
        grid={"optimizer.learning_rate": (5e-4, 1.5e-3, 4e-3)},
        baseline="resnet",
        matched="macs",
    )
