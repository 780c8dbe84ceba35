"""The configuration tree: made, changed and resolved.

A file in `configs/` calls `defaults()`, changes what it must and returns the tree. Keys
left `None` are filled by `resolve` from the hardware, the data or the part's size table.
All keys stand in `config/keys.py`, what values they may have in `config/ranges.py`.
"""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

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
            options = ConfigDict(model[key].to_dict())  # unlocked: options may be new
            options.update(value)
            model[key] = options
        else:
            model[key] = value


def changed(config: ConfigDict, values: Mapping[str, Any]) -> ConfigDict:
    """Returns a locked copy of a tree with dotted keys set, whatever their types were.

    Raises:
        KeyError: the tree has no such key.
    """
    config = ConfigDict(config.to_dict()).lock()  # references resolved, frozen or not
    with config.ignore_type():
        config.update_from_flattened_dict(dict(values))
    return config


def resolve(
    config: ConfigDict, *, on_cpu: bool, num_train_examples: int | None = None
) -> FrozenConfigDict:
    """Returns a checked copy in which no key that training reads is `None`.

    This is what the hardware and the length of the data decide; see
    `train/resolve_config.py` for all the rest.

    Args:
        on_cpu: whether the devices are CPUs; chooses the `hardware` branch and "auto".
        num_train_examples: length of the training split, for `train.epochs`.

    Raises:
        UserError: a value out of its range; the message names the key.
    """
    kind = config.hardware.cpu if on_cpu else config.hardware.accelerator
    train, data, windows = config.train, config.data, config.task.segmentation
    batch_size = kind.batch_size if train.batch_size is None else train.batch_size
    side = kind.image_size if data.image_size is None else data.image_size
    values = {
        "train.batch_size": batch_size,
        "data.image_size": _image_hw("data.image_size", side),
    }
    if config.eval.image_size is not None:
        size = _image_hw("eval.image_size", config.eval.image_size)
        values["eval.image_size"] = size
    window = windows.window or values["data.image_size"]
    values["task.segmentation.window"] = _image_hw("task.segmentation.window", window)
    if train.steps is None and train.epochs is None:
        values["train.steps"] = kind.steps
    elif train.steps is None and num_train_examples is not None:
        steps = int(train.epochs * num_train_examples / batch_size)
        values["train.steps"] = max(1, steps)
    if config.eval.batch_size is None:
        values["eval.batch_size"] = batch_size
    if config.model.dtype == "auto":
        values["model.dtype"] = "float32" if on_cpu else "bfloat16"
    config = changed(config, values)
    check(config)
    return FrozenConfigDict(config)


def _image_hw(key: str, image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) from a side or a pair."""
    pair = isinstance(image_size, list | tuple)
    sides = tuple(image_size) if pair else (image_size,) * 2
    if len(sides) != 2 or any(not isinstance(s, int) or s < 1 for s in sides):
        raise UserError(
            f"config.{key}: expected a positive side in px or a "
            f"(height, width) pair, got {image_size!r}."
        )
    return sides


def from_dict(values: Mapping[str, Any]) -> ConfigDict:
    """Returns the tree that JSON was written from; absent keys have their defaults."""
    config = tree()
    with config.ignore_type():
        config.update(_with_tuples(values))
    return config


def _with_tuples(node: Any) -> Any:
    """Turns JSON's lists back to the tuples that they were."""
    if isinstance(node, Mapping):
        return {key: _with_tuples(value) for key, value in node.items()}
    return tuple(map(_with_tuples, node)) if isinstance(node, list) else node


def to_json(config: ConfigDict) -> str:
    """Returns the tree as JSON with sorted keys, one per line."""
    return json.dumps(json.loads(config.to_json()), indent=2, sort_keys=True)
