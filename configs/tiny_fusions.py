"""Parts so small that every fusion of them trains in about a minute: for comparisons.

Command:  python -m hybrid_jax.main --config=configs/tiny_fusions.py:shapes,fusion=conformer
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

`configs/studies/every_fusion.py` compares all of them. The parts have three
ResNet stages (strides 4, 8, 16) and four ViT blocks over patches of 8 px, so that at 64 px
every wiring has places to meet at. Most fusions of them have 0.9 to 1.5 M parameters; the
plain `resnet` and `vit` are given more blocks, to 0.95 M, so that size alone is no excuse.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select

SHAPES = {"train.steps": 800, "train.batch_size": 16}


def get_config(argument: str = "shapes") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("tiny")
    config.model.resnet_options.update(blocks=(1, 1, 1), width=32)
    config.model.vit_options.update(
        width=96, depth=4, num_heads=3, mlp_dim=288, patch_size=8, pool="mean"
    )
    config.model.fusion_options.unlock().update(
        sequential=dict(stride=8),
        conv_stem=dict(patch_size=2),
        stage_swap=dict(pattern="CCT"),
        rtdetr_encoder=dict(channels=64),
    )
    config.optimizer.learning_rate = 5e-4
    config.hardware.cpu.steps = 800
    config.log.every = 100
    config = select(config, argument, shapes=SHAPES)
    if config.model.fusion == "resnet":
        config.model.resnet_options.blocks = (2, 3, 2)
    elif config.model.fusion == "vit":
        config.model.vit_options.depth = 10
    return config
