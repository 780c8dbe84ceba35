"""How data sets are usually trained, whatever the model: sizes, crops, epochs, pace."""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict


def set_all(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Sets dotted keys of a tree, whatever their types were."""
    with config.ignore_type():
        for path, value in values.items():
            branch, _, leaf = path.rpartition(".")
            node = config
            for name in filter(None, branch.split(".")):
                node = node[name]
            node[leaf] = value
    # A run is as long as its epochs or its steps say, whichever was set last.
    if "train.steps" in values:
        config.train.epochs = None
    elif "train.epochs" in values:
        config.train.steps = None


def _digits(config: ConfigDict) -> None:
    config.data.crop = "resize"
    config.task.flip = 0.0


def _pace(config: ConfigDict, *, every: int) -> None:
    """Evaluates and saves as often as suits the length of the run."""
    config.eval.every = every
    config.checkpoint.every = every


def _shapes(config: ConfigDict) -> None:
    _pace(config, every=500)
    set_all(config, {"train.epochs": 20.0})
    config.data.image_size = 128 if config.data.name == "shapes128" else 64
    config.data.crop = "resize"
    config.task.flip = 0.5


def _mnist(config: ConfigDict) -> None:
    _pace(config, every=500)
    set_all(config, {"train.epochs": 5.0})
    config.data.crop = "pad"
    config.data.image_size = 32
    config.data.pad_px = 2
    config.task.flip = 0.0


def _cifar(config: ConfigDict) -> None:
    _pace(config, every=500)
    set_all(config, {"train.epochs": 100.0, "train.batch_size": 512})
    config.data.crop = "pad"
    config.data.image_size = 32
    config.task.flip = 0.5
    config.data.randaugment_layers = 2


def usual_images(config: ConfigDict) -> None:
    """Trains on labeled photos of any size: random crops and mirroring, 30 epochs."""
    _pace(config, every=500)
    config.data.crop = "random_resized"
    config.data.eval_crop = 0.875
    config.task.flip = 0.5
    set_all(config, {"train.epochs": 30.0})


def _boxes_or_masks(config: ConfigDict) -> None:
    _pace(config, every=500)
    usual = {"data.crop": "scale_jitter", "task.flip": 0.5, "train.epochs": 30.0}
    set_all(config, usual)


def _as_the_task_has_it(config: ConfigDict) -> None:
    # Tables and records may hold labels or boxes; the experiment knows which it learns.
    labeled = config.task.name == "classification"
    (usual_images if labeled else _boxes_or_masks)(config)


def _imagenet2012(config: ConfigDict) -> None:
    usual_images(config)
    config.data.image_size = 224
    config.data.randaugment_layers = 2
    config.data.randaugment_magnitude = 10.0
    config.task.mixup = 0.2
    set_all(config, {"train.epochs": 300.0, "train.batch_size": 4096})
    _pace(config, every=2500)
    config.log.every = 50


_WITH_BOXES_OR_MASKS = (
    *("coco", "coco_seg", "yolo", "voc", "voc_seg", "seg"),
    *("tfds:coco/2017", "tfds:voc/2012", "tfds:scene_parse150", "tfds:cityscapes"),
)
# Data, or the kind of it -> what training on it usually needs.
USUAL: dict[str, Callable[[ConfigDict], None]] = {
    "digits": _digits,
    "shapes": _shapes,
    "shapes128": _shapes,
    "mnist": _mnist,
    "folder": usual_images,
    "csv": _as_the_task_has_it,
    "records": _as_the_task_has_it,
    "hf_dataset": _as_the_task_has_it,
    "tfds:cifar10": _cifar,
    "tfds:cifar100": _cifar,
    "tfds:imagenet2012": _imagenet2012,
} | dict.fromkeys(_WITH_BOXES_OR_MASKS, _boxes_or_masks)
