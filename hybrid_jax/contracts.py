"""Interfaces between the parts of the library: features, batches and protocols.

Dimension key, used in every shape comment of the project:

    B  batch               C  channels of a map      Q  queries
    H  image rows, px      D  embedding width        K  classes
    W  image columns, px   N  tokens
    h  grid rows           w  grid columns           s  a stride, px per cell

A map of stride s has ceil(H / s) x ceil(W / s) cells; cell (i, j) covers the pixels from
(i * s, j * s). Inputs are padded at the bottom and the right.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, Required, TypedDict

import jax
import numpy as np
from flax import struct
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from hybrid_jax.array_types import Array, Images, Maps, PixelMask, Vectors
from hybrid_jax.outputs import Outputs


@struct.dataclass
class BlockFeatures:
    """The tokens after one transformer block, without the ViT's last norm.

    Attributes:
        map: (B, h, w, D), the patch tokens.
        cls: (B, D), the class token, or None if there is none.
        stride: px per cell of the map.
    """

    map: Float[Array, "B h w D"]
    cls: Vectors | None = None
    stride: int = struct.field(pytree_node=False, default=16)


@struct.dataclass
class Features:
    """The features that every fusion returns and every head reads.

    Attributes:
        maps: stride -> (B, ceil(H/s), ceil(W/s), C_s), fine to coarse.
        pooled: (B, D), one vector per image.
        mask: (B, H, W) bool, False for padding; None if there is no padding.
        intermediates: tokens after the transformer blocks that the head's `taps` name;
            empty if it has none.
        image_hw: (H, W) of the images in px; set by `Hybrid`. Maps may extend past them.
            None if only the maps are known.
    """

    maps: Maps
    pooled: Vectors
    mask: PixelMask | None = None
    intermediates: tuple[BlockFeatures, ...] = ()
    image_hw: tuple[int, int] | None = struct.field(pytree_node=False, default=None)


class Batch(TypedDict, total=False):
    """A batch of the data pipeline; numpy arrays on the host.

    Every batch has `image` and `mask`, False for rows that pad the batch. Further keys
    depend on the targets of the task:

    - "label": `label`; "segmentation": `segmentation`, 255 for void.
    - "boxes": `boxes_xyxy_px` in px of `image`, `box_labels`, and `box_mask`, False for
      rows without an object.

    Boxes and segmentation also have the geometry of `image`: `original_hw`; `scale_yx` and
    `offset_yx`, such that px of `image` = original px * scale + offset; `content_yxyx_px`,
    the part of `image` that is not padding (top, left, bottom, right). In evaluation there
    is `index`, the index of the example in its source. The rest are the `COUNTERS` below.
    """

    image: Required[UInt8[np.ndarray, "B H W 3"]]
    mask: Required[Bool[np.ndarray, " B"]]
    skipped: Int32[np.ndarray, " B"]
    label: Int32[np.ndarray, " B"]
    boxes_xyxy_px: Float32[np.ndarray, "B M 4"]
    box_labels: Int32[np.ndarray, "B M"]
    box_mask: Bool[np.ndarray, "B M"]
    dropped: Int32[np.ndarray, " B"]
    cut_off: Int32[np.ndarray, " B"]
    vanished: Int32[np.ndarray, " B"]
    segmentation: UInt8[np.ndarray, "B H W"]
    index: Int32[np.ndarray, " B"]
    original_hw: Int32[np.ndarray, "B 2"]
    scale_yx: Float32[np.ndarray, "B 2"]
    offset_yx: Float32[np.ndarray, "B 2"]
    content_yxyx_px: Int32[np.ndarray, "B 4"]
    faulty: Int32[np.ndarray, " B"]


VOID = 255  # class id of void pixels in masks, which losses and scores ignore
COUNTERS = ("skipped", "dropped", "cut_off", "vanished", "faulty")
"""Keys of `Batch` that are summed on the host and not sent to the devices: unreadable
examples skipped; objects without a row, cut off, under a pixel; invalid annotations."""

Example = dict[str, Any]
"""One example of a source: `image` (H, W, 3) uint8 and, if available, `label` int;
`boxes_xyxy_px` (M, 4) float32, `box_labels` (M,) int32 and, optional, `box_crowd` (M,) bool
(many objects), `box_ids` (M,) int64, `box_areas_px` (M,) float32 (of the masks),
`box_written` (M,) str (the class name in the file) and `box_lines` (M,) int64 (in `where`);
`segmentation` (H, W) uint8 with 255 for void; `image_id`, int or str; `where`, the file."""


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Classes and sizes of a data set.

    Attributes:
        num_classes: K of the image labels; 0 if there are none.
        class_names: K names, in label order.
        factors: coarser labels: factor name -> group of each class. The accuracy of each
            factor is reported too, e.g. texture and layout of `shapes`.
        box_names: class names of objects, in the order of `box_labels`; empty if there are
            no boxes.
        box_category_ids: category ids of the annotation file, for results files; empty for
            1, 2, ...
        segmentation_names: class names of pixels; empty if there are no masks.
        largest_hw: upper bound (height, width) in px of all images; None if not known.
        notes: sentences that a run says first, such as what was left out.
    """

    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    factors: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    box_names: tuple[str, ...] = ()
    box_category_ids: tuple[int, ...] = ()
    segmentation_names: tuple[str, ...] = ()
    largest_hw: tuple[int, int] | None = None
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)


class Source(Protocol):
    """Random access to the examples of one split.

    It may also have `annotations(index)`, the example with `original_hw`, its (height,
    width), in place of `image`; `image_file(index)`, the path of what `read_image` reads;
    and `labeled_names()`, the label and the name of each example, without reading images.
    """

    info: DatasetInfo

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """Returns example `index`.

        Raises:
            BadImageError: the file of this example cannot be read.
        """
        ...


class BatchStream(Protocol):
    """An endless or finite iterator over host batches that can be closed."""

    def __iter__(self) -> Iterator[Batch]: ...

    def close(self) -> None: ...


class Fusion(Protocol):
    """A combination of a ResNet and a ViT that maps images to `Features`.

    Attributes:
        channels: stride -> channels of the map.
        width: D of `Features.pooled`.
        parts: the parts it builds, of "resnet" and "vit"; each is an attribute.
        starts_as: the part whose features it returns at initialization, or None.
    """

    channels: dict[int, int]
    width: int
    parts: ClassVar[tuple[str, ...]]
    starts_as: ClassVar[str | None]

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features: ...


class Head(Protocol):
    """Maps `Features` to the outputs of one task.

    It is built as `Head(channels, width=, num_classes=, dtype=, rngs=, **options)`, where
    `channels` has at least the strides that it reads. A head with `reads_targets = True`
    also gets `targets=` in training: the batch, or None if only shapes are traced.

    Attributes:
        task: name of the task of its outputs.
        strides: strides that it reads from `Features.maps`, empty if it reads `pooled`; an
            option `strides` of its constructor overrides them.
    """

    task: ClassVar[str]
    strides: ClassVar[tuple[int, ...]]

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> Outputs: ...


class Scorer(Protocol):
    """Collects the predictions for a whole split on the host and scores them at the end.

    For scores that are not averages over images, such as average precision.
    """

    def add(self, predictions: Mapping[str, np.ndarray], index: np.ndarray) -> None:
        """Adds the predictions for the examples `index` (b,), without padded rows."""
        ...

    def scores(self) -> dict[str, float]:
        """Returns the scores of all added predictions."""
        ...

    def write(self, stem: Any) -> None:
        """Writes result files whose paths start with `stem`."""
        ...


class Task(Protocol):
    """Loss, metrics and predictions of one kind of outputs.

    Loss and metrics are sums over the rows of the batch that are not padding, so that sums
    over batches and hosts are exact; `summarize` divides once at the end.

    Attributes:
        targets: targets in its batches, of "label", "boxes" and "segmentation".
        main_score: the score that selects the best checkpoint.
    """

    targets: ClassVar[tuple[str, ...]]
    main_score: ClassVar[str]

    @staticmethod
    def num_classes(info: DatasetInfo) -> int:
        """Returns K, the number of classes; UserError if the data has no such targets."""
        ...

    def infer(self, model: Callable[..., Outputs], image: jax.Array, **kw: Any) -> Outputs:
        """Applies the model to evaluation images, once or in several passes (windows)."""
        ...

    def predict(
        self, outputs: Outputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns predictions of fixed shapes, one row for each row of the batch."""
        ...

    def draw(self, image_u8: np.ndarray, prediction: Mapping) -> np.ndarray:
        """Draws one row of the predictions over its image; both (H, W, 3) uint8."""
        ...

    def to_json(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns one row of the predictions as plain values for JSON."""
        ...

    def scorer(self, source: Source) -> Scorer | None:
        """Returns the scorer of a split, or None if `metrics` gives all scores."""
        ...

    def augment(
        self, batch: Mapping[str, jax.Array], *, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Augments a training batch on the device (flip, mixup, erasing)."""
        ...

    def loss(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> "Mean":
        """Returns the loss as a sum over the rows that are not padding, and their count."""
        ...

    def metrics(
        self, outputs: Outputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns sums, from which `summarize` computes the scores."""
        ...

    def summarize(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the scores of a split from its summed metrics."""
        ...


@struct.dataclass
class Mean:
    """An average as sum (`total`) and `count`, which are divided at the end.

    Attributes:
        parts: name -> term of the sum, for the log.
    """

    total: jax.Array
    count: jax.Array
    parts: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)
