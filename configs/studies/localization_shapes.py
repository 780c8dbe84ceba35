"""Where a ResNet, a ViT and two hybrids of them look: views against the boxes of shapes.

Command:  python -m hybrid_jax.main --mode=study --config=studies/localization_shapes
Hardware: one CPU core
Time:     about 50 min on a core shared with other work (20 runs)
Result:   energy in boxes: rollout of conformer 0.636, late_concat 0.513 (docs/tips.md)

The images of the test split have boxes, which no model is trained on: each learns one of
16 labels, and is scored by how much of what it looks at lies in boxes. All variants have
the multiply-accumulates of the ResNet within 10 %. The ResNets have BatchNorm, since
GroupNorm mixes all cells of a map and blurs where the evidence is (docs/explain.md).

In 400 steps the plain ViT stays at chance (0.0625), also at 1e-4 and 3e-4, so what it is
compared with is the rollout of a ViT that has learned nothing; `shapes,steps=2000` is long.
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import keys_given
from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_BLOCKS, _WIDTH = "model.resnet_options.blocks", "model.resnet_options.width"
_DEPTH, _MLP = "model.vit_options.depth", "model.vit_options.mlp_dim"
VARIANTS = {
    "resnet": {_WIDTH: 24, _BLOCKS: (1, 2)},
    "vit": {_DEPTH: 5},
    "late_concat": {_MLP: 112},
    "conformer": {_MLP: 112},
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`, shapes without one."""
    base = named(f"tiny:{argument or 'shapes'}")
    base.model.resnet_options.update(blocks=(1, 1), width=16, norm="batch")
    base.model.vit_options.update(width=64, depth=3, num_heads=2, mlp_dim=128, patch_size=8)
    given = keys_given(argument)
    if not given & {"steps", "epochs"}:
        base.train.update(steps=400, epochs=None)
        base.eval.every = base.checkpoint.every = 200
    if "batch" not in given:
        base.train.batch_size = 32
    return study_config(
        base,
        variants={
            fusion: {"model.fusion": fusion} | changes
            for fusion, changes in VARIANTS.items()
        },
        grid={"optimizer.learning_rate": (5e-4, 1.5e-3, 4e-3)},
        baseline="resnet",
        matched="macs",
        localization=True,
    )
