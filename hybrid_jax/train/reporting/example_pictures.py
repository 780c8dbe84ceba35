"""Examples drawn with what is known and what was predicted, as parts of a web page."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from hybrid_jax.contracts import Example, Source, Task
from hybrid_jax.tasks.drawn_truth import draw_truth, scaled_classes, scaled_image
from hybrid_jax.tasks.findings import Case
from hybrid_jax.tasks.json_predictions import own_pixels

SIDE_PX = 320  # of the longer side of an image; enough for two columns of a page
_QUALITY = 82  # of JPEG


def case_record(task: Task, source: Source, case: Case) -> dict[str, Any]:
    """Returns what a page shows of a case: names, numbers and pictures.

    Args:
        task: of the prediction.
        source: of the example.
        case: the prediction.

    Returns:
        `name` of the example, `score`, `pictures` of `title` and `src`; for labels also
        `truth`, and `labels` with the most probable ones as in `Task.to_json`.
    """
    example = source[case.index]
    record = _annotated(task, source, example, case.index)
    record["score"] = case.score
    if "label" in task.targets:
        record["labels"] = task.to_json(case.prediction)["labels"]
    else:
        drawn = draw_prediction(task, example["image"], case.prediction)
        record["pictures"].append(dict(title="predicted", src=as_source(drawn)))
    return record


def sample_record(task: Task, source: Source, index: int) -> dict[str, Any]:
    """Returns name and picture of an example with its annotations; `truth` of labels."""
    return _annotated(task, source, source[index], index)


def _annotated(task: Task, source: Source, example: Example, index: int) -> dict[str, Any]:
    record: dict[str, Any] = dict(name=example_name(example, index))
    (target,) = task.targets
    if target == "label":
        names = source.info.class_names
        record["truth"] = names[example["label"]] if names else str(example["label"])
        picture, _ = scaled_image(example["image"], side_px=SIDE_PX)
    else:
        picture = draw_truth(example, source.info, target=target, side_px=SIDE_PX)
    record["pictures"] = [dict(title="annotated", src=as_source(picture))]
    return record


def draw_prediction(
    task: Task, image_u8: np.ndarray, prediction: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Draws one row of predictions over its image at a size where names are legible.

    Args:
        image_u8: (H, W, 3) uint8, as the source has it.
        prediction: one row of `Task.predict`.
    """
    image, scale = scaled_image(image_u8, side_px=SIDE_PX)
    prediction = dict(prediction)
    if "boxes_xyxy_px" in prediction:
        prediction["boxes_xyxy_px"] = prediction["boxes_xyxy_px"] * scale
    if "segmentation" in prediction:
        classes = scaled_classes(own_pixels(prediction), hw=image.shape[:2])
        prediction |= dict(segmentation=classes, original_hw=np.array(classes.shape))
    return task.draw(image, prediction)


def spread_indices(length: int, *, count: int) -> list[int]:
    """Returns up to `count` indices of a source, evenly spread, so of many classes."""
    return (
        np.unique(np.linspace(0, length - 1, min(count, length)).round())
        .astype(int)
        .tolist()
    )


def example_name(example: Example, index: int) -> str:
    """Returns what an example is called: the end of its file's path, or its number."""
    where = str(example.get("where", example.get("image_id", f"example {index}")))
    return "/".join(where.split("/")[-2:])


def as_source(image_u8: np.ndarray) -> str:
    """Returns an image (H, W, 3) uint8 as a `data:` URI, JPEG or PNG, what is smaller."""
    texts = []
    for kind, options in (("jpeg", dict(quality=_QUALITY)), ("png", dict(optimize=True))):
        file = io.BytesIO()
        Image.fromarray(image_u8).save(file, kind, **options)
        texts.append(
            f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
        )
    return min(texts, key=len)
