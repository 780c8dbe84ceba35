"""How images were prepared, from the file that hubs keep beside the weights.

timm's `config.json` has it under `pretrained_cfg` (before 2023 at the top), the
`preprocessor_config.json` of transformers in words of its own.
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


def preprocessing_beside(path: str | pathlib.Path) -> Preprocessing | None:
    """Returns what the description beside a file of weights says about its images.

    Args:
        path: of the weights; `config.json` and then `preprocessor_config.json` are looked
            for in the same folder.

    Returns:
        None if neither is there or neither speaks about images.

    Raises:
        UserError: no JSON, or images that no policy of this library prepares: weights
            would load, and every answer of the model would be wrong.
    """
    folder = pathlib.Path(path).parent
    for name, read in (
        ("config.json", _from_timm),
        ("preprocessor_config.json", _from_transformers),
    ):
        beside = folder / name
        if beside.is_file():
            found = read(_object(beside), beside)
            if found is not None:
                return found
    return None


def _object(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path}, beside the weights, cannot be read as JSON ({error}). Download it "
            f"again, or move it away and set model.normalization yourself."
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
    """Returns the side of an image that is said in one of three ways."""
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
        f"{path}, beside the weights: mean {mean} and deviation {deviation} are those of "
        f"no policy ({', '.join(POLICIES)}), so images cannot be prepared for this model. "
        f"To fine-tune it with another, move that file away and set model.normalization."
    )


def _filter(interpolation: Any, path: pathlib.Path) -> str:
    if interpolation not in _RESAMPLE.values():
        raise UserError(
            f"{path}, beside the weights: expected interpolation "
            f"{' or '.join(_RESAMPLE.values())}, got {interpolation!r}. Move that file "
            f"away to choose one yourself (data.interpolation)."
        )
    return interpolation


def _share(crop: Any, path: pathlib.Path) -> float:
    if not isinstance(crop, int | float) or not 0.0 < crop <= 1.0:
        raise UserError(
            f"{path}, beside the weights: expected a crop in (0, 1], got {crop!r}. Move "
            f"that file away to choose one yourself (data.eval_crop)."
        )
    return float(crop)
