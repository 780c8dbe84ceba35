"""Plain ResNet-50 with BatchNorm (v1.5), 25.6 M parameters: the other baseline.

Command:  python -m hybrid_jax.main --config=configs/resnet50.py
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

Images are normalized by ImageNet's mean and deviation, as torchvision's weights expect.
`:imagenet2012` is 90 epochs at 224 px, batch 1024, SGD; not yet measured here. torchvision
reports 76.1 % with a step schedule at batch 256 and no label smoothing.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select

# ImageNet-1k from scratch, the classic recipe (Goyal et al., 2017) with label smoothing.
IMAGENET2012 = {
    "train.epochs": 90.0,
    "train.batch_size": 1024,
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.4,
    "optimizer.weight_decay": 0.0001,
    "optimizer.clip_norm": 0.0,
    "data.randaugment_layers": 0,
    "task.mixup": 0.0,
    "task.label_smoothing": 0.1,
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("resnet50")
    config.optimizer.learning_rate = 1e-3
    config.model.normalization = "imagenet"
    config.eval.every = 40
    config.checkpoint.every = 80
    return select(config, argument, imagenet2012=IMAGENET2012)
