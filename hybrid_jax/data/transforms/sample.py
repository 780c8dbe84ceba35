"""An example on its way into a batch: its image, its targets and where they now lie."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from hybrid_jax.contracts import Example
from hybrid_jax.data.transforms.placement import Placement

_LEAST_SIDE_PX = 1.0  # of a box after all transforms
_LEAST_VISIBLE = 0.2  # share of a box that must be left by a crop


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """What transforms change: an image with the targets that were asked for.

    A transform returns a new sample and never writes into the arrays of the old one, which
    may be those of the source. One that moves pixels moves all: by `placed`, or
    by itself what is here, boxes, mask and geometry. So it serves every task.

    Attributes:
        image: (H, W, 3) uint8.
        original_hw: size of the image in the source, px.
        content_yxyx_px: the part of `image` that is no padding: top, left, bottom, right.
        scale_yx: `original px * scale + offset` are px of `image`.
        offset_yx: see above.
        label: class of the image, or None.
        boxes_xyxy_px: (M, 4) float32 in px of `image`, not yet cut at its content; or None.
        box_labels: (M,) int32, or None.
        mask: (H, W) uint8, 255 for void, or None.
        cut_off: objects left out because a crop left too little of them.
        vanished: objects left out because they are less than a pixel high or wide.
    """

    image: np.ndarray
    original_hw: tuple[int, int]
    content_yxyx_px: tuple[int, int, int, int]
    scale_yx: tuple[float, float] = (1.0, 1.0)
    offset_yx: tuple[float, float] = (0.0, 0.0)
    label: int | None = None
    boxes_xyxy_px: np.ndarray | None = None
    box_labels: np.ndarray | None = None
    mask: np.ndarray | None = None
    cut_off: int = 0
    vanished: int = 0

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of the image in px."""
        return self.image.shape[:2]

    def placed(self, place: Placement, *, interpolation: str) -> "Sample":
        """Returns the sample with image, boxes and mask laid into another frame.

        Args:
            place: of an original of the size `hw`.
            interpolation: of the image, "bicubic" or "bilinear"; masks take the nearest.
        """
        if place.changes_nothing:
            return self
        (scale_y, scale_x), (offset_y, offset_x) = place.scale_yx, place.offset_yx
        boxes, mask = self.boxes_xyxy_px, self.mask
        (old_scale_y, old_scale_x), (old_y, old_x) = self.scale_yx, self.offset_yx
        return Sample(  # `replace` would take as long as all the rest for a small image
            image=place.image(self.image, interpolation=interpolation),
            original_hw=self.original_hw,
            content_yxyx_px=place.rectangle(self.content_yxyx_px),
            scale_yx=(old_scale_y * scale_y, old_scale_x * scale_x),
            offset_yx=(old_y * scale_y + offset_y, old_x * scale_x + offset_x),
            label=self.label,
            boxes_xyxy_px=None if boxes is None else place.boxes(boxes),
            box_labels=self.box_labels,
            mask=None if mask is None else place.mask(mask),
            cut_off=self.cut_off,
            vanished=self.vanished,
        )

    def with_boxes_cut(self) -> "Sample":
        """Returns the sample with boxes cut at the content; remnants go and are counted."""
        if self.boxes_xyxy_px is None:
            return self
        assert self.box_labels is not None  # boxes come with labels
        top, left, bottom, right = self.content_yxyx_px
        low = np.array([left, top] * 2, np.float32)
        high = np.array([right, bottom] * 2, np.float32)
        cut = np.clip(self.boxes_xyxy_px, low, high)
        sides, whole = _sides(cut), _sides(self.boxes_xyxy_px)
        visible = sides.prod(-1) >= _LEAST_VISIBLE * whole.prod(-1)
        kept = visible & (sides >= _LEAST_SIDE_PX).all(-1)
        return dataclasses.replace(
            self,
            boxes_xyxy_px=cut[kept],
            box_labels=self.box_labels[kept],
            cut_off=self.cut_off + int((~visible).sum()),
            vanished=self.vanished + int((visible & ~kept).sum()),
        )


def sample_of(example: Example, targets: Sequence[str]) -> Sample:
    """Returns the image of an example with some of its targets.

    A crowd is one box around many objects and no example of one: it is left out, so its
    cells train as background.

    Args:
        example: of a source.
        targets: of "label", "boxes" and "segmentation".
    """
    hw, chosen = example["image"].shape[:2], {}
    if "label" in targets:
        chosen["label"] = int(example["label"])
    if "boxes" in targets:
        boxes = np.asarray(example["boxes_xyxy_px"], np.float32).reshape(-1, 4)
        single = ~np.asarray(example.get("box_crowd", np.zeros(len(boxes), bool)))
        chosen["boxes_xyxy_px"] = boxes[single]
        chosen["box_labels"] = np.asarray(example["box_labels"], np.int32)[single]
    if "segmentation" in targets:
        chosen["mask"] = example["segmentation"]
    return Sample(example["image"], hw, (0, 0, *hw), **chosen)


def _sides(boxes_xyxy: np.ndarray) -> np.ndarray:
    return np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0)
