"""What heads return and tasks read, one class for each way to state an answer.

The dimension key stands at the top of `contracts.py`.
"""

import jax
from flax import struct


@struct.dataclass
class ClassificationOutputs:
    """What a classification head returns: `logits` (B, K) in float32."""

    logits: jax.Array


@struct.dataclass
class DenseDetectionOutputs:
    """What a dense detection head returns: a box for every cell of its maps.

    The N cells are those of all levels, fine to coarse, each row by row.

    Attributes:
        logits: (B, N, K) float32, one sigmoid for every class.
        quality_logits: (B, N) float32, how well the box is thought to fit.
        boxes_xyxy_px: (B, N, 4) float32, in px of the images the model was given.
        centers_xy_px: (N, 2) float32, the middle of each cell.
        strides_px: (N,) float32, of each cell's level.
    """

    logits: jax.Array
    quality_logits: jax.Array
    boxes_xyxy_px: jax.Array
    centers_xy_px: jax.Array
    strides_px: jax.Array


@struct.dataclass
class BoxSet:
    """A set of Q boxes for each image, by one layer of a decoder.

    Attributes:
        logits: (B, Q, K) float32; with `SetDetectionOutputs.has_no_object` K + 1 columns.
        boxes_cxcywh: (B, Q, 4) float32: center, width and height as shares of the image.
    """

    logits: jax.Array
    boxes_cxcywh: jax.Array


@struct.dataclass
class DenoisingOutputs:
    """Boxes decoded from the ground truth with noise on it (Li et al., 2022).

    Attributes:
        layers: one set of P boxes for each decoder layer.
        target: (B, P) int32, the index of the object each one comes from.
        is_positive: (B, P) bool, whether it should find its object again.
        mask: (B, P) bool, False where there is no such object.
    """

    layers: tuple[BoxSet, ...]
    target: jax.Array
    is_positive: jax.Array
    mask: jax.Array


@struct.dataclass
class SetDetectionOutputs:
    """What a set-prediction head returns (Carion et al., 2020).

    Attributes:
        layers: the boxes after each decoder layer; the last one's are the answer.
        proposals: the boxes the encoder chose the queries by, if it did.
        denoising: in training, what became of noised targets, if there were any.
        image_hw: (H, W) in px of the images the model was given.
        has_no_object: whether the last column of the logits means "nothing" under one
            softmax, as in DETR; else every class is a sigmoid of its own.
    """

    layers: tuple[BoxSet, ...]
    proposals: BoxSet | None = None
    denoising: DenoisingOutputs | None = None
    image_hw: tuple[int, int] = struct.field(pytree_node=False, default=(1, 1))
    has_no_object: bool = struct.field(pytree_node=False, default=False)


@struct.dataclass
class SegmentationOutputs:
    """What a segmentation head returns.

    Attributes:
        logits: (B, h, w, K) float32 at any stride; cell (i, j) covers the pixels from
            (i * stride, j * stride).
        stride: px per cell of `logits`.
        auxiliary: (B, h', w', K) float32 of a second, shallower reading, if there is one.
        auxiliary_stride: px per cell of `auxiliary`.
    """

    logits: jax.Array
    stride: int = struct.field(pytree_node=False, default=1)
    auxiliary: jax.Array | None = None
    auxiliary_stride: int = struct.field(pytree_node=False, default=1)


Outputs = (
    ClassificationOutputs
    | DenseDetectionOutputs
    | SetDetectionOutputs
    | SegmentationOutputs
)
