"""Outputs of heads, one class for each kind of prediction.

The dimension key is at the top of `contracts.py`.
"""

from flax import struct
from jaxtyping import Bool, Float32, Int32

from hybrid_jax.array_types import Array


@struct.dataclass
class ClassificationOutputs:
    """Outputs of a classification head: `logits` (B, K) in float32."""

    logits: Float32[Array, "B K"]


@struct.dataclass
class DenseDetectionOutputs:
    """Outputs of a dense detection head: one box for every cell of its maps.

    The N cells are those of all levels, fine to coarse, each level row by row.

    Attributes:
        logits: (B, N, K) float32, one sigmoid per class.
        quality_logits: (B, N) float32, logits of the predicted IoU of the box.
        boxes_xyxy_px: (B, N, 4) float32, in px of the model's input.
        centers_xy_px: (N, 2) float32, centers of the cells.
        strides_px: (N,) float32, stride of each cell's level.
    """

    logits: Float32[Array, "B N K"]
    quality_logits: Float32[Array, "B N"]
    boxes_xyxy_px: Float32[Array, "B N 4"]
    centers_xy_px: Float32[Array, "N 2"]
    strides_px: Float32[Array, " N"]


@struct.dataclass
class BoxSet:
    """The Q boxes of each image predicted by one decoder layer.

    Attributes:
        logits: (B, Q, K) float32; K + 1 columns with `SetDetectionOutputs.has_no_object`.
        boxes_cxcywh: (B, Q, 4) float32, normalized center, width and height.
    """

    logits: Float32[Array, "B Q K"]
    boxes_cxcywh: Float32[Array, "B Q 4"]


@struct.dataclass
class DenoisingOutputs:
    """Boxes predicted from noised ground truth (DN-DETR, Li et al., 2022).

    Attributes:
        layers: the P boxes of each decoder layer.
        target: (B, P) int32, index of the object that each query is made from.
        is_positive: (B, P) bool, whether the target is the object; else "no object".
        mask: (B, P) bool, False where an image has no objects.
    """

    layers: tuple[BoxSet, ...]
    target: Int32[Array, "B P"]
    is_positive: Bool[Array, "B P"]
    mask: Bool[Array, "B P"]


@struct.dataclass
class SetDetectionOutputs:
    """Outputs of a set-prediction head (DETR, Carion et al., 2020).

    Attributes:
        layers: the boxes of each decoder layer; the last are the predictions.
        proposals: the boxes of query selection, None without it.
        denoising: the boxes of the denoising queries, None without these.
        image_hw: (H, W) in px of the model's input.
        has_no_object: True for a softmax whose last class is "no object", as in DETR;
            False for one sigmoid per class.
    """

    layers: tuple[BoxSet, ...]
    proposals: BoxSet | None = None
    denoising: DenoisingOutputs | None = None
    image_hw: tuple[int, int] = struct.field(pytree_node=False, default=(1, 1))
    has_no_object: bool = struct.field(pytree_node=False, default=False)


@struct.dataclass
class SegmentationOutputs:
    """Outputs of a segmentation head.

    Attributes:
        logits: (B, h, w, K) float32 at any stride; cell (i, j) covers the pixels from
            (i * stride, j * stride).
        stride: px per cell of `logits`.
        auxiliary: (B, h2, w2, K) float32, logits of the auxiliary classifier, or None.
        auxiliary_stride: px per cell of `auxiliary`.
    """

    logits: Float32[Array, "B h w K"]
    stride: int = struct.field(pytree_node=False, default=1)
    auxiliary: Float32[Array, "B h2 w2 K"] | None = None
    auxiliary_stride: int = struct.field(pytree_node=False, default=1)


Outputs = (
    ClassificationOutputs
    | DenseDetectionOutputs
    | SetDetectionOutputs
    | SegmentationOutputs
)
