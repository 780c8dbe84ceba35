"""An example drawn with its own annotations, at a size for looking."""

import numpy as np
from PIL import Image

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.tasks.drawing import draw_annotated_boxes, draw_lines, draw_segmentation


def draw_truth(
    example: Example,
    info: DatasetInfo,
    *,
    target: str,
    side_px: int,
    uncolored: int | None = None,
) -> np.ndarray:
    """Draws what is known of an example over its image.

    Args:
        example: with `image` and the fields of the target.
        info: names of its classes.
        target: "label", "boxes" or "segmentation".
        side_px: of the longer side of the image.
        uncolored: a class of pixels that is not colored.

    Returns:
        (H', W', 3) uint8: the image with a legend below.
    """
    image, scale = scaled_image(example["image"], side_px=side_px)
    if target == "label":
        label = int(example["label"])
        is_named = 0 <= label < len(info.class_names)
        name = info.class_names[label] if is_named else str(label)
        return draw_lines(image, [name])
    if target == "boxes":
        boxes, labels = example["boxes_xyxy_px"] * scale, example["box_labels"]
        return draw_annotated_boxes(image, boxes, labels=labels, names=info.box_names)
    mask = scaled_classes(example["segmentation"], hw=image.shape[:2])
    names = info.segmentation_names
    return draw_segmentation(image, mask, names=names, uncolored=uncolored)


def scaled_image(image_u8: np.ndarray, *, side_px: int) -> tuple[np.ndarray, float]:
    """Returns an image (H, W, 3) whose longer side is `side_px`, and the factor."""
    height, width = image_u8.shape[:2]
    scale = side_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Pixels of small images stay visible as they are.
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image_u8).resize(size, how)), scale


def scaled_classes(classes: np.ndarray, *, hw: tuple[int, int]) -> np.ndarray:
    """Returns class ids (H, W) uint8 at the size `hw`, the nearest pixel's."""
    size = hw[1], hw[0]
    return np.asarray(Image.fromarray(classes).resize(size, Image.Resampling.NEAREST))
