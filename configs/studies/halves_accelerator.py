"""A hybrid and its two halves with 20 M parameters, as long as papers train on CIFAR.

Command:  python -m hybrid_jax.main --mode=study
              --config=studies/halves_accelerator:folder=DIR
Hardware: one GPU or TPU
Time:     not yet measured
Result:   not yet measured

The photos are those of `studies/wirings_cifar`. Here 64 tokens of width 384 make the ViT,
all variants have the same parameters (within 10 %), and a run sees each photo 100 times. A
first look with one seed and a tenth of the length is

    python -m hybrid_jax.main --mode=study --config=studies/halves_accelerator:folder=DIR
        --config.study.jobs=3 --config.study.seeds="(0,)" --config.train.epochs=10
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import keys_given
from hybrid_jax.config.usual_recipes import set_all
from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_BLOCKS, _DEPTH = "model.resnet_options.blocks", "model.vit_options.depth"
VARIANTS = {
    "resnet": {_BLOCKS: (3, 4, 3)},
    "vit": {_DEPTH: 12},
    "sequential": {_BLOCKS: (3,), _DEPTH: 11},
    "bifusion": {_BLOCKS: (2, 3), _DEPTH: 8},
    "conformer": {_BLOCKS: (2, 3), _DEPTH: 8},
}
SIZE = {
    "model.dtype": "bfloat16",
    "model.resnet_options.width": 128,
    "model.vit_options.width": 384,
    "model.vit_options.num_heads": 6,
    "model.vit_options.mlp_dim": 1536,
    "train.epochs": 100.0,
    "train.batch_size": 256,
    "eval.batch_size": 256,
    "eval.every": 500,
    "checkpoint.every": 500,
}
# Words of an argument, and what they stand in place of.
_KEYS = {"steps": "train.epochs", "epochs": "train.epochs", "batch": "train.batch_size"}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`, whose words count."""
    base = named(f"cifar_small:{argument}")
    given = {_KEYS.get(key) for key in keys_given(argument)}
    set_all(base, {key: value for key, value in SIZE.items() if key not in given})
    return study_config(
        base,
        variants={name: {"model.fusion": name} | own for name, own in VARIANTS.items()},
        grid={"optimizer.learning_rate": (3e-4, 1e-3, 3e-3)},
        baseline="resnet",
        matched="params",
    )
