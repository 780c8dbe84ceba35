"""Parts for photos of 32 px that train in about two minutes on a core: for studies.

Command:  python -m hybrid_jax.main --config=configs/cifar_small.py:folder=/data/cifar10
Hardware: one CPU core
Time:     about 2 min
Result:   what variants of it reach is in docs/tips.md

The data lies in /data/cifar10 or where `:folder=PATH` says; `:tfds=cifar10` is the whole of
CIFAR-10. A fusion of a ResNet stage of width 32 and ViT blocks of width 64 over 64 tokens.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select
from hybrid_jax.config.usual_recipes import set_all

CIFAR = {
    "data.image_size": 32,
    "data.crop": "pad",
    "data.eval_crop": 1.0,
    "train.steps": 1200,
    "train.batch_size": 32,
    "eval.every": 400,
    "checkpoint.every": 400,
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("tiny")
    config.model.resnet_options.update(blocks=(1, 1, 1), width=32)
    config.model.vit_options.update(
        width=64, depth=2, num_heads=4, mlp_dim=192, patch_size=4, pool="mean"
    )
    config.model.fusion_options.unlock().update(
        sequential=dict(stride=4),
        conv_stem=dict(patch_size=2),
        stage_swap=dict(pattern="CCT"),
        rtdetr_encoder=dict(channels=64),
    )
    config.log.every = 100
    config.optimizer.learning_rate = 1.5e-3
    set_all(config, CIFAR)
    return select(
        config, argument, default="folder=/data/cifar10", folder=CIFAR, **{"cifar10": CIFAR}
    )
