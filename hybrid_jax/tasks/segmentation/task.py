"""The segmentation task: one class for every pixel."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Mean, Source
from hybrid_jax.errors import UserError
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.tasks import TASKS
from hybrid_jax.tasks.drawing import draw_segmentation
from hybrid_jax.tasks.json_predictions import own_pixels, pixels_to_json
from hybrid_jax.tasks.label_options import refuse_label_options
from hybrid_jax.tasks.segmentation.findings import SegmentationFindings
from hybrid_jax.tasks.segmentation.inference import check_passes, segment
from hybrid_jax.tasks.segmentation.pixel_loss import pixel_cross_entropy, pixel_hits
from hybrid_jax.tasks.segmentation.prediction import original_classes
from hybrid_jax.tasks.segmentation.scores import SegmentationScorer


@TASKS.register("segmentation")
class Segmentation:
    """Cross-entropy of every pixel that is not void; IoU at the original resolution.

    Args:
        task: the `task` branch of a config.
        info: classes and sizes of the data set.

    Raises:
        UserError: an option that is for classification only or out of range, or no canvas
            for the predictions.
    """

    targets = ("segmentation",)
    main_score = "mIoU"

    def __init__(self, task: Mapping[str, Any], info: DatasetInfo):
        refuse_label_options(task, name="segmentation")
        self.task = task
        self.info = info
        self.options = task["segmentation"]
        check_passes(self.options)
        self.canvas_hw = canvas_of(self.options["canvas"], info.largest_hw)

    @staticmethod
    def num_classes(info: DatasetInfo) -> int:
        """Returns the number of classes of pixels.

        Raises:
            UserError: the data has no masks, or more than 255 classes.
        """
        count = len(info.segmentation_names)
        if not count:
            raise UserError(
                "config.task.name: 'segmentation' needs masks, but the data has no masks. "
                "Choose another data.name or task.name."
            )
        if count > VOID:
            raise UserError(
                f"config.data.name: expected at most {VOID} classes of pixels, because "
                f"masks are uint8 and {VOID} is void, got {count}. Merge classes."
            )
        return count

    def augment(
        self, batch: Mapping[str, jax.Array], *, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Flips images, masks and content left to right with probability `flip`.

        Args:
            batch: with `image` (B, H, W, 3), `segmentation` (B, H, W) and
                `content_yxyx_px` (B, 4).
        """
        if not self.task["flip"]:
            return dict(batch)
        image, content = batch["image"], batch["content_yxyx_px"]
        B, _, W, _ = image.shape
        flipped = jax.random.bernoulli(key, self.task["flip"], (B,))
        across = flipped[:, None, None]
        labels = batch["segmentation"]
        top, left, bottom, right = (content[:, i] for i in range(4))
        mirrored = jnp.stack([top, W - right, bottom, W - left], axis=1)
        return dict(
            batch,
            image=jnp.where(across[..., None], image[:, :, ::-1], image),
            segmentation=jnp.where(across, labels[:, :, ::-1], labels),
            content_yxyx_px=jnp.where(flipped[:, None], mirrored, content),
        )

    def loss(self, outputs: SegmentationOutputs, batch: Mapping[str, jax.Array]) -> Mean:
        """Returns the sum of the cross-entropy over valid pixels, and their number.

        The loss of the auxiliary logits, if there are any, is added with the weight
        `auxiliary_weight`.

        Args:
            batch: with `mask` (B,) and `segmentation` (B, H, W).
        """
        labels = _labels(batch)
        count = jnp.sum(labels != VOID, dtype=jnp.int32).astype(jnp.float32)
        total = pixel_cross_entropy(outputs.logits, labels, stride=outputs.stride)
        if outputs.auxiliary is None:
            return Mean(total, count)
        second = self.options["auxiliary_weight"] * pixel_cross_entropy(
            outputs.auxiliary, labels, stride=outputs.auxiliary_stride
        )
        return Mean(total + second, count, dict(main=total, auxiliary=second))

    def metrics(
        self, outputs: SegmentationOutputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns sums: `count` images, valid `pixels`, loss and correct pixels.

        They are at the resolution of the model's input; the scorer computes the IoU at the
        original resolution.
        """
        labels, logits, stride = _labels(batch), outputs.logits, outputs.stride
        return dict(
            count=jnp.sum(batch["mask"], dtype=jnp.int32),
            pixels=jnp.sum(labels != VOID, dtype=jnp.int32),
            loss=pixel_cross_entropy(logits, labels, stride=stride),
            pixel_accuracy=pixel_hits(logits, labels, stride=stride),
        )

    def summarize(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns `loss` and `pixel_accuracy`, means over all valid pixels, and `count`."""
        pixels = max(float(sums["pixels"]), 1.0)
        scores = {name: float(sums[name]) / pixels for name in ("loss", "pixel_accuracy")}
        return scores | dict(count=int(sums["count"]))

    def infer(
        self,
        model: Callable[..., SegmentationOutputs],
        image: jax.Array,
        *,
        content_yxyx_px: jax.Array | None = None,
    ) -> SegmentationOutputs:
        """Applies the model to whole images or windows, see `segment`."""
        return segment(model, image, content_yxyx_px=content_yxyx_px, options=self.options)

    def predict(
        self, outputs: SegmentationOutputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns the predicted classes at the original resolution.

        Returns:
            `segmentation` (B, Hc, Wc) uint8, with the image in the top left corner of a
            canvas and 255 elsewhere, and `original_hw` (B, 2).
        """
        classes = original_classes(outputs, batch, canvas_hw=self.canvas_hw)
        return dict(segmentation=classes, original_hw=batch["original_hw"])

    def draw(self, image_u8: np.ndarray, prediction: Mapping[str, Any]) -> np.ndarray:
        """Draws the classes over the image (H, W, 3) in its original size."""
        names = self.info.segmentation_names
        return draw_segmentation(image_u8, own_pixels(prediction), names=names)

    def to_json(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the classes in the image and their fractions."""
        return pixels_to_json(prediction, names=self.info.segmentation_names)

    def scorer(self, source: Source) -> SegmentationScorer:
        """Returns the scorer of a split.

        Raises:
            UserError: images of the split are larger than the canvas.
        """
        largest = source.info.largest_hw
        if largest is not None and not _fits(largest, self.canvas_hw):
            raise UserError(
                f"config.task.segmentation.canvas: expected at least {tuple(largest)} px, "
                f"the size of the largest image of the split, got {self.canvas_hw}."
            )
        return SegmentationScorer(source)

    def findings(self, source: Source) -> SegmentationFindings:
        """Returns what an evaluation of a split is to show."""
        return SegmentationFindings(source.info)


def canvas_of(
    canvas: tuple[int, int] | int | None, largest_hw: tuple[int, int] | None
) -> tuple[int, int]:
    """Returns the (height, width) in px of a canvas for all original images.

    Args:
        canvas: `config.task.segmentation.canvas`: (height, width), one number for both,
            or None.
        largest_hw: of the data set; rounded up to a multiple of 32, so that data sets of
            similar size share compiled programs.

    Raises:
        UserError: neither is given, or the canvas is not a pair or too small.
    """
    if canvas is None:
        if largest_hw is None:
            raise UserError(
                "config.task.segmentation.canvas: expected a pair (height, width) in px "
                "that no original image exceeds, got None, and the data set has no upper "
                "bound. Set it."
            )
        height, width = (-(-side // 32) * 32 for side in largest_hw)
        return height, width
    canvas_hw = (canvas, canvas) if isinstance(canvas, int) else tuple(canvas)
    if len(canvas_hw) != 2 or min(canvas_hw) < 1:
        raise UserError(
            f"config.task.segmentation.canvas: expected a pair (height, width) in px, or "
            f"one number for both, got {canvas_hw}."
        )
    if largest_hw is not None and not _fits(largest_hw, canvas_hw):
        raise UserError(
            f"config.task.segmentation.canvas: expected at least {tuple(largest_hw)} px, "
            f"the size of the largest image of the data, got {canvas_hw}."
        )
    return canvas_hw


def _fits(hw: tuple[int, int], canvas_hw: tuple[int, int]) -> bool:
    return all(side <= most for side, most in zip(hw, canvas_hw, strict=True))


def _labels(batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns the masks (B, H, W), void in padded rows."""
    return jnp.where(batch["mask"][:, None, None], batch["segmentation"], VOID)
