"""The configuration tree: made, changed and resolved.

A file in `configs/` calls `defaults()`, changes what it must and returns the tree. Keys
left `None` are filled by `resolve` from the hardware, the data or the part's size table.
All keys stand in `config/keys.py`, what values they may have in `config/ranges.py`.
"""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax import specs
from hybrid_jax.config.keys import tree
from hybrid_jax.config.ranges import check
from hybrid_jax.errors import UserError, nearest


def defaults(model: str = "r26_vit_b16") -> ConfigDict:
    """Returns a fresh, locked tree with every key.

    Args:
        model: a name in `specs.MODELS`, which fills `config.model`.

    Raises:
        UserError: unknown model.
    """
    if model not in specs.MODELS:
        raise UserError(
            f"unknown model {model!r}.{nearest(model, specs.MODELS)} "
            f"Known: {', '.join(specs.MODELS)}."
        )
    config = tree()
    for key, value in specs.MODELS[model].items():
        if key in ("fusion_options", "head_options"):
            config.model[key] = ConfigDict(value)
        elif isinstance(value, dict):
            config.model[key].update(value)
        else:
            config.model[key] = value
    config.lock()
    return config


def override_model(model: ConfigDict, overrides: Mapping[str, Any], *, where: str) -> None:
    """Sets keys of a `model` branch in place; a mapping is laid over the one there.

    Args:
        where: the function the keys were given to, for the message.

    Raises:
        UserError: unknown key.
    """
    for key, value in overrides.items():
        if key not in model:
            raise UserError(
                f"{where}: unknown key {key!r}.{nearest(key, model)} "
                f"Known: {', '.join(sorted(model))}."
            )
        if isinstance(value, Mapping):
            model[key].unlock().update(value)
        else:
            model[key] = value


def resolve(
    config: ConfigDict, *, on_cpu: bool, num_train_examples: int | None = None
) -> ConfigDict:
    """Returns a checked copy in which no key that training reads is `None`.

    Args:
        on_cpu: whether the devices are CPUs; chooses the `hardware` branch and "auto".
        num_train_examples: length of the training split, for `train.epochs`.

    Raises:
        UserError: a value out of its range; the message names the key.
    """
    config = config.copy_and_resolve_references()
    kind = config.hardware.cpu if on_cpu else config.hardware.accelerator
    with config.unlocked(), config.ignore_type():
        if config.train.batch_size is None:
            config.train.batch_size = kind.batch_size
        if config.data.image_size is None:
            config.data.image_size = kind.image_size
        config.data.image_size = _image_hw("data.image_size", config.data.image_size)
        if config.eval.image_size is not None:
            config.eval.image_size = _image_hw("eval.image_size", config.eval.image_size)
        windows = config.task.segmentation
        windows.window = _image_hw(
            "task.segmentation.window", windows.window or config.data.image_size
        )
        if config.train.steps is None and config.train.epochs is None:
            config.train.steps = kind.steps
        elif config.train.steps is None and num_train_examples is not None:
            config.train.steps = max(
                1, int(config.train.epochs * num_train_examples / config.train.batch_size)
            )
        if config.eval.batch_size is None:
            config.eval.batch_size = config.train.batch_size
        if config.model.dtype == "auto":
            config.model.dtype = "float32" if on_cpu else "bfloat16"
    check(config)
    return config


def _image_hw(key: str, image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) from a side or a pair."""
    sides = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or any(not isinstance(s, int) or s < 1 for s in sides):
        raise UserError(
            f"config.{key}: expected a positive side in px or a "
            f"(height, width) pair, got {image_size!r}."
        )
    return sides


def to_json(config: ConfigDict) -> str:
    """Returns the tree as JSON with sorted keys, one per line."""
    return json.dumps(json.loads(config.to_json()), indent=2, sort_keys=True)
