"""Predictions for one image as plain values for JSON, with class names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hybrid_jax.tasks.drawing import class_shares

Prediction = Mapping[str, np.ndarray]
"""One row of the output of `Task.predict`."""


def labels_to_json(prediction: Prediction, *, names: Sequence[str]) -> dict[str, Any]:
    """Returns the `labels` of an image with probabilities, best first."""
    rows = zip(prediction["top_labels"], prediction["top_probabilities"], strict=True)
    return dict(
        labels=[
            dict(name=names[label], label=int(label), probability=float(probability))
            for label, probability in rows
        ]
    )


def boxes_to_json(prediction: Prediction, *, names: Sequence[str]) -> dict[str, Any]:
    """Returns the `boxes` of an image, best first, in px of the original image."""
    found = np.flatnonzero(prediction["valid"])
    return dict(
        boxes=[
            dict(
                name=names[prediction["labels"][m]],
                label=int(prediction["labels"][m]),
                score=float(prediction["scores"][m]),
                box_xyxy_px=prediction["boxes_xyxy_px"][m].tolist(),
            )
            for m in found
        ]
    )


def pixels_to_json(prediction: Prediction, *, names: Sequence[str]) -> dict[str, Any]:
    """Returns the `classes` of an image's pixels and their fractions, largest first."""
    shares = class_shares(own_pixels(prediction), len(names))
    largest = [k for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
    return dict(
        classes=[dict(name=names[k], label=int(k), share=float(shares[k])) for k in largest]
    )


def own_pixels(prediction: Prediction) -> np.ndarray:
    """Returns the classes (H, W) uint8 of the image's pixels, cropped from the canvas."""
    height, width = prediction["original_hw"]
    return prediction["segmentation"][:height, :width]
