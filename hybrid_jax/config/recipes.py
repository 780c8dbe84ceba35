"""What stands after the colon: `--config=configs/r26_vit_b16.py:imagenet2012,size=384`.

The first word names the data, the rest sets keys people change most. `select` fills in
how that data set is usually trained; what the experiment's own file says comes last.
"""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.usual_recipes import USUAL, set_all, usual_images
from hybrid_jax.errors import UserError, nearest

# Commas part the words, but not inside a pair of brackets.
_WORD = re.compile(r"(?:\([^()]*\)|\[[^\[\]]*\]|[^,])+")


def select(
    config: ConfigDict, argument: str, *, default: str = "", **recipes: Mapping[str, Any]
) -> ConfigDict:
    """Returns `config` set up for the data and the keys that `argument` names.

    `fusion.OPTION=VALUE` sets an option of the chosen fusion, `head.OPTION=VALUE` one of
    the chosen head, and they check it themselves; a value of several numbers stands in
    brackets: `fusion.strides=(16,32)`. So may two paths:
    `coco=(/data/images,/data/x.json)`.

    Args:
        config: a tree from `config.defaults()`, changed by the experiment.
        argument: `DATA[,KEY=VALUE...]`; DATA may be empty (keep `data.name`), a name such
            as `imagenet2012`, or a prefix with a path or two: `folder=/data/birds` or
            `folder:/data/birds`, `seg=(/data/images,/data/masks)`.
        default: the data where `argument` names none; "" keeps `data.name`.
        recipes: data name -> dotted config keys that this experiment sets for it.

    Raises:
        UserError: a word that is neither data nor a known key.
    """
    words = _WORD.findall(argument)
    options = [word for word in words if word.startswith(("fusion.", "head."))]
    words = [word for word in words if word not in options]
    if not (words and _is_data(words[0])):
        words = _WORD.findall(default) + words
    if words and _is_data(words[0]):
        name = _data_name(_data_word(words))
        kind = name.split(":")[0]
        config.data.name = name
        unversioned = ":".join(name.split(":")[:2]) if kind == "tfds" else name
        USUAL.get(unversioned, USUAL.get(kind, usual_images))(config)
        own = recipes.get(unversioned.removeprefix("tfds:"), recipes.get(kind, {}))
        set_all(config, own)
    for word in words:
        key, _, text = word.partition("=")
        if key not in _KEYS:
            raise UserError(
                f"config argument {word!r}: unknown key {key!r}.{nearest(key, _KEYS)} "
                f"Known after the data name: {', '.join(_KEYS)}, fusion.OPTION, "
                f"head.OPTION. Any other key is set with --config.<key>=<value>."
            )
        path, parse = _KEYS[key]
        try:
            set_all(config, {path: parse(text)})
        except ValueError as error:
            raise UserError(
                f"config argument {word!r}: cannot read {text!r} as {parse.__name__}."
            ) from error
    for part in ("fusion", "head"):
        _set_options(config, part, [w for w in options if w.startswith(f"{part}.")])
    return config


def keys_given(argument: str) -> set[str]:
    """Returns what the words of an argument of `select` set, such as {"steps", "batch"}.

    The word of the data is among them, up to its `=`.
    """
    return {word.partition("=")[0] for word in _WORD.findall(argument)}


def keys_of_words(argument: str) -> dict[str, str]:
    """Returns word -> the dotted key it sets, such as {"lr": "optimizer.learning_rate"}.

    The word of the data and options of parts are not among them.
    """
    return {word: _KEYS[word][0] for word in keys_given(argument) if word in _KEYS}


def _set_options(config: ConfigDict, part: str, words: list[str]) -> None:
    options = config.model[f"{part}_options"]
    own = dict(options.get(config.model[part], {}))
    for word in words:
        name, found, text = word.removeprefix(f"{part}.").partition("=")
        if not found or not name:
            raise UserError(
                f"config argument {word!r}: expected {part}.OPTION=VALUE, e.g. "
                f"{'fusion.stride=16' if part == 'fusion' else 'head.strides=(8,16)'}."
            )
        try:
            own[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            own[name] = text  # a bare word, such as a kind of merge
    if words:
        options = options.to_dict() | {config.model[part]: own}
        config.model[f"{part}_options"] = ConfigDict(options)


def _is_data(word: str) -> bool:
    return word.split("=")[0] not in _KEYS


def _data_word(words: list[str]) -> str:
    """Takes the data off the words; two paths may have come apart at their comma."""
    word = words.pop(0)
    kind, path = _parted(word)
    if kind in _TWO_PATHS and path and "(" not in path and words:
        word = f"{word},{words.pop(0)}"
    return word


def _parted(word: str) -> tuple[str, str]:
    kind, *path = re.split("[:=]", word, maxsplit=1)  # a path may hold both
    return kind, path[0] if path else ""


def _data_name(word: str) -> str:
    kind, path = _parted(word)
    if kind in _PLACES:
        if not path:
            raise UserError(
                f"config argument {word!r}: expected {kind}=<path or name>, "
                f"e.g. {kind}={_PLACES[kind]}."
            )
        return f"{kind}:{path[1:-1] if path[0] + path[-1] == '()' else path}"
    if word in _NAMES:
        return f"tfds:{word}" if f"tfds:{word}" in USUAL else word
    known = (*_NAMES, *(f"{kind}=..." for kind in _PLACES))
    raise UserError(
        f"config argument {word!r}: unknown data.{nearest(word, (*_NAMES, *_KEYS))} "
        f"Known: {', '.join(known)}. A source of your own is named by "
        f"--config.data.name=KIND:LOCATION instead."
    )


def side(text: str) -> int | tuple[int, ...]:
    """Reads `384` as a square side and `384x640` as (height, width), in px.

    More numbers are returned as they are; `resolve` refuses them.
    """
    parts = tuple(int(part) for part in text.split("x"))
    return parts[0] if len(parts) == 1 else parts


_NAMES = ("digits", "shapes", "shapes128", "imagenet2012", "cifar10", "cifar100")
_TWO_PATHS = ("coco", "coco_seg", "seg")
_PLACES = {  # kind of data -> what may stand behind it
    "folder": "/data/folder",
    "csv": "/data/labels.csv",
    "records": "/data/records",
    "mnist": "/data/mnist",
    "tfds": "cifar10",
    "hf_dataset": "/data/hf_dataset",
    "coco": "(/data/images,/data/instances_{split}.json)",
    "coco_seg": "(/data/images,/data/instances_{split}.json)",
    "yolo": "/data/yolo",
    "voc": "/data/VOC2012",
    "voc_seg": "/data/VOC2012",
    "seg": "(/data/images,/data/masks)",
}
_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "size": ("data.image_size", side),
    "steps": ("train.steps", int),
    "epochs": ("train.epochs", float),
    "batch": ("train.batch_size", int),
    "lr": ("optimizer.learning_rate", float),
    "seed": ("seed", int),
    "fusion": ("model.fusion", str),
    "head": ("model.head", str),
    "pretrained": ("model.pretrained", str),
    "freeze": ("optimizer.freeze", str),
    "layer_decay": ("optimizer.layer_decay", float),
}


# AugReg's transfer (Steiner et al., 2021): images of 448 px, crops of 384 px, flips, and
# no regularization but those. A square of 384 of 448 px is 0.73 of the area.
_TRANSFER = {
    "data.crop": "random_resized",
    "data.crop_area": (0.73, 0.74),
    "data.crop_ratio": (1.0, 1.0),
    "data.eval_crop": 1.0,
    "data.image_size": None,  # as the hardware allows, whatever the data
    "data.randaugment_layers": 0,
    "task.flip": 0.5,
    "task.mixup": 0.0,
    "train.batch_size": None,
    "train.epochs": 20.0,
}
_WITHOUT_CROPS = _TRANSFER | {"data.crop": "resize", "task.flip": 0.0}
_TRANSFERS = {
    "digits": _WITHOUT_CROPS | {"train.epochs": None},  # steps, as the hardware allows
    "mnist": _WITHOUT_CROPS,
    "shapes": _WITHOUT_CROPS | {"task.flip": 0.5},
    "shapes128": _WITHOUT_CROPS | {"task.flip": 0.5},
    "cifar10": _TRANSFER | {"train.steps": 10_000, "train.batch_size": 512},
    "cifar100": _TRANSFER | {"train.steps": 10_000, "train.batch_size": 512},
    "imagenet2012": _TRANSFER | {"train.steps": 20_000, "train.batch_size": 512},
    "tfds": _TRANSFER,
    "hf_dataset": _TRANSFER,
    "folder": _TRANSFER,
    "csv": _TRANSFER,
    "records": _TRANSFER,
}


def finetune(model: str, argument: str, **pretrained: str) -> ConfigDict:
    """Returns the transfer of published weights to the data that `argument` names.

    SGD with momentum in bfloat16, a cosine rate from 0.03, gradients clipped to 1, neither
    decay nor dropout, a head that starts at zero: AugReg's (Steiner et al., 2021), which
    tries the rates 0.001, 0.003, 0.01 and 0.03. It takes 512 images of 384 px a step on
    accelerators, 16 of 128 px on CPUs, where `lr=0.001` suits so small a batch.

    Args:
        model: a name in `specs.MODELS`.
        argument: as in `select`; `pretrained=PATH` takes other weights.
        pretrained: the keys of `config.model` that name weights, unless the argument does.

    Raises:
        UserError: as `select`.
    """
    config = defaults(model)
    config.optimizer.update(
        name="sgd", learning_rate=0.03, weight_decay=0.0, moment_dtype="bfloat16"
    )
    config.model.pretrained_options.head = "new"
    config.hardware.accelerator.update(batch_size=512, image_size=384, steps=500)
    config.hardware.cpu.update(batch_size=16, image_size=128, steps=160)
    config.eval.every = 100
    config.checkpoint.every = 500
    set_all(config, _TRANSFERS[config.data.name])
    config = select(config, argument, **_TRANSFERS)
    if not config.model.pretrained:
        config.model.update(pretrained)
    return config
