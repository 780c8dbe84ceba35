"""Image preprocessing from the JSON files next to published weights.

timm's `config.json` has it under `pretrained_cfg` (before 2023 at the top level),
transformers' `preprocessor_config.json` under other names.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from hybrid_jax.errors import UserError
from hybrid_jax.ops.normalize_image import POLICIES
from hybrid_jax.pretrained.dialect import Preprocessing

# Filters of Pillow by number, as transformers writes them.
_RESAMPLE = {2: "bilinear", 3: "bicubic"}


def read_preprocessing(path: str | pathlib.Path) -> Preprocessing | None:
    """Returns the image preprocessing from the JSON files next to a file of weights.

    Args:
        path: path of the weights; `config.json` and `preprocessor_config.json` are read
            from the same folder, in this order.

    Returns:
        The preprocessing, or None if there is none.

    Raises:
        UserError: not JSON, or a preprocessing that this library does not have.
    """
    folder = pathlib.Path(path).parent
    for name, read in (
        ("config.json", _from_timm),
        ("preprocessor_config.json", _from_transformers),
    ):
        sidecar = folder / name
        if sidecar.is_file():
            found = read(_object(sidecar), sidecar)
            if found is not None:
                return found
    return None


def image_size_beside(path: str | pathlib.Path) -> tuple[int, int] | None:
    """Returns the (height, width) in px that `config.json` beside weights says.

    None without such a file or size; `read_preprocessing` complains of a damaged one.
    """
    sidecar = pathlib.Path(path).parent / "config.json"
    try:
        content = _object(sidecar) if sidecar.is_file() else {}
    except UserError:
        return None
    images = content.get("pretrained_cfg", content)
    sizes = [content.get("model_args"), images, content]
    keys = ("img_size", "input_size", "image_size")
    found = [of.get(key) for of in sizes if isinstance(of, dict) for key in keys]
    return next((hw for size in found if (hw := _height_width(size))), None)


def _height_width(size: Any) -> tuple[int, int] | None:
    """Reads a side, (height, width) or (channels, height, width); else None."""
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) not in (2, 3):
        return None
    if not all(type(side) is int and side > 0 for side in sides):
        return None
    return sides[-2], sides[-1]


def _object(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path}, next to the weights, cannot be read as JSON ({error}). Download it "
            f"again, or remove it and set model.normalization."
        ) from error
    return content if isinstance(content, dict) else {}


def _from_timm(content: Mapping[str, Any], path: pathlib.Path) -> Preprocessing | None:
    images = content.get("pretrained_cfg", content)
    if not isinstance(images, dict) or not {"mean", "std"} <= images.keys():
        return None
    return Preprocessing(
        normalization=_policy(images["mean"], images["std"], path),
        interpolation=_filter(images.get("interpolation", "bicubic"), path),
        eval_crop=_share(images.get("crop_pct") or 1.0, path),
    )


def _from_transformers(
    content: Mapping[str, Any], path: pathlib.Path
) -> Preprocessing | None:
    if not {"image_mean", "image_std"} <= content.keys():
        return None
    mean, deviation = content["image_mean"], content["image_std"]
    if not content.get("do_normalize", True):
        mean, deviation = [0.0] * 3, [1.0] * 3
    resized = _side(content.get("size"))
    cropped = _side(content.get("crop_size")) if content.get("do_center_crop") else None
    resample = content.get("resample", 3)
    return Preprocessing(
        normalization=_policy(mean, deviation, path),
        interpolation=_filter(_RESAMPLE.get(resample, resample), path),
        eval_crop=_share(cropped / resized if cropped and resized else 1.0, path),
    )


def _side(size: Any) -> int | None:
    """Returns the side of an image, written in one of three ways."""
    if isinstance(size, dict):
        return size.get("shortest_edge") or size.get("height")
    return size


def _policy(mean: Any, deviation: Any, path: pathlib.Path) -> str:
    for name, policy in POLICIES.items():
        try:
            if np.allclose([mean, deviation], policy, atol=1e-3):
                return name
        except (TypeError, ValueError):
            break
    raise UserError(
        f"{path}, next to the weights: expected mean and standard deviation of "
        f"{' or '.join(POLICIES)}, got {mean} and {deviation}. To fine-tune with another "
        f"normalization, remove the file and set model.normalization."
    )


def _filter(interpolation: Any, path: pathlib.Path) -> str:
    if interpolation not in _RESAMPLE.values():
        raise UserError(
            f"{path}, next to the weights: expected interpolation "
            f"{' or '.join(_RESAMPLE.values())}, got {interpolation!r}. Remove the file "
            f"and set data.interpolation."
        )
    return interpolation


def _share(crop: Any, path: pathlib.Path) -> float:
    if not isinstance(crop, int | float) or not 0.0 < crop <= 1.0:
        raise UserError(
            f"{path}, next to the weights: expected a crop in (0, 1], got {crop!r}. Remove "
            f"the file and set data.eval_crop."
        )
    return float(crop)
