"""The annotations of a source after its images were moved."""

from collections.abc import Mapping

import numpy as np

from hybrid_jax.contracts import Example
from hybrid_jax.robustness.moving.known_truth import KnownTruth
from hybrid_jax.robustness.moving.motion import Motion, moved_boxes, moved_mask

# Of an object less is left than training would keep: whoever finds it is not wrong, and
# whoever does not has not missed it.
LEAST_VISIBLE = 0.2
LEAST_SIDE_PX = 1.0


class MovedTruth:
    """A source whose boxes and masks lie where a motion of the images puts them.

    All is in px of the original image, whose size and place in the batch stay: predictions
    are mapped back to it as ever. Of an object that is moved out of the image its rest is a
    crowd region if less than a fifth is left, and nothing if nothing is.

    Args:
        truth: of the images as they are.
        motion: of the images, in px of the model's input.
        scales_yx: index -> px of the model's input per original px, along each axis.

    Attributes:
        info: that of the source.
    """

    def __init__(
        self, truth: KnownTruth, motion: Motion, *, scales_yx: Mapping[int, np.ndarray]
    ):
        self._truth = truth
        self._motion = motion
        self._scales_yx = scales_yx
        self.info = truth.info

    def __len__(self) -> int:
        return len(self._truth)

    def __getitem__(self, index: int) -> Example:
        """Raises `NotImplementedError`: images move on the device, within a batch."""
        raise NotImplementedError("only annotations are moved here")

    def annotations(self, index: int) -> Example:
        """Returns boxes and masks, moved, and what names the example."""
        example = self._truth.annotations(index)
        found = {
            key: example[key]
            for key in ("image_id", "original_hw", "where")
            if key in example
        }
        where = dict(
            content_yxyx=np.array([0, 0, *example["original_hw"]], np.float32),
            scale_yx=np.asarray(self._scales_yx[index], np.float32),
        )
        if "segmentation" in example:
            mask = example["segmentation"]
            found["segmentation"] = moved_mask(mask, self._motion, **where)
        if "boxes_xyxy_px" in example:
            found |= self._objects(example, where)
        return found

    def _objects(self, example: Example, where: Mapping[str, np.ndarray]) -> Example:
        boxes = np.asarray(example["boxes_xyxy_px"], np.float32).reshape(-1, 4)
        moved, share = moved_boxes(boxes, self._motion, **where)
        kept = share > 0
        crowd = np.asarray(example.get("box_crowd", np.zeros(len(boxes), bool)))
        sides = boxes[:, 2:] - boxes[:, :2]
        areas = np.asarray(example.get("box_areas_px", sides.prod(-1)))
        return dict(
            boxes_xyxy_px=moved[kept],
            box_labels=np.asarray(example["box_labels"])[kept],
            box_crowd=(crowd | (share < LEAST_VISIBLE))[kept],
            box_areas_px=(areas * share * self._motion.zoom**2)[kept],
        )
