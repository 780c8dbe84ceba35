"""What crosses the borders between the parts of the library.

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
from typing import Any, ClassVar, Protocol, TypedDict

import jax
import numpy as np
from flax import struct

from hybrid_jax.outputs import Outputs


@struct.dataclass
class BlockFeatures:
    """What one transformer block left behind, before the ViT's last norm.

    Attributes:
        map: (B, h, w, D), the patch tokens.
        cls: (B, D), the class token, or None where there is none.
        stride: px per cell of the map.
    """

    map: jax.Array
    cls: jax.Array | None = None
    stride: int = struct.field(pytree_node=False, default=16)


@struct.dataclass
class Features:
    """What every fusion returns and every head reads.

    Attributes:
        maps: stride -> (B, ceil(H/s), ceil(W/s), C_s), fine to coarse.
        pooled: (B, D), one vector per image.
        mask: (B, H, W) bool, True where the image is real and not padding; None if all is.
        intermediates: chosen transformer blocks, for decoders that want depth instead of
            scale; empty unless the head has `taps`, the numbers of blocks it wants.
        image_hw: (H, W) of the images in px, which `Hybrid` tells its head; cells may
            reach past them. None where only the maps are known.
    """

    maps: dict[int, jax.Array]
    pooled: jax.Array
    mask: jax.Array | None = None
    intermediates: tuple[BlockFeatures, ...] = ()
    image_hw: tuple[int, int] | None = struct.field(pytree_node=False, default=None)


class Batch(TypedDict, total=False):
    """What the data yields and the tasks read; numpy on the host.

    Every batch has `image` (B, H, W, 3) uint8 and `mask` (B,) bool, True for a real example
    and False for a padded row. By the targets that a task asks for:

    - "label": `label` (B,) int32.
    - "boxes": `boxes_xyxy_px` (B, M, 4) float32 in px of `image`, `box_labels` (B, M)
      int32, and `box_mask` (B, M) bool, False for rows that hold no object.
    - "segmentation": `segmentation` (B, H, W) uint8, 255 where nothing is asked.

    Boxes and segmentation come with where `image` lies in the original one: `original_hw`
    (B, 2) int32; `scale_yx` and `offset_yx` (B, 2) float32, so that original px * scale +
    offset are px of `image`; `content_yxyx_px` (B, 4) int32, the part of `image` that is no
    padding (top, left, bottom, right). The rest is (B,) int32: in evaluation `index`, the
    example's number in its source; and the `COUNTERS` below.
    """

    image: np.ndarray
    mask: np.ndarray
    skipped: np.ndarray
    label: np.ndarray
    boxes_xyxy_px: np.ndarray
    box_labels: np.ndarray
    box_mask: np.ndarray
    dropped: np.ndarray
    cut_off: np.ndarray
    vanished: np.ndarray
    segmentation: np.ndarray
    index: np.ndarray
    original_hw: np.ndarray
    scale_yx: np.ndarray
    offset_yx: np.ndarray
    content_yxyx_px: np.ndarray
    faulty: np.ndarray


VOID = 255  # in masks, of pixels where nothing is asked
COUNTERS = ("skipped", "dropped", "cut_off", "vanished", "faulty")
"""Keys of `Batch` that are counted on the host and do not travel to the devices: unreadable
examples passed over; objects without a row, cut off, under a pixel; faulty annotations."""

Example = dict[str, Any]
"""One example of a source: `image` (H, W, 3) uint8 and, where the source has them,
`label` int; `boxes_xyxy_px` (M, 4) float32, `box_labels` (M,) int32 and, optional,
`box_crowd` (M,) bool (a region of many objects), `box_ids` (M,) int64 (in the annotations),
`box_areas_px` (M,) float32 (of the masks) and `box_written` (M,) str (class as written);
`segmentation` (H, W) uint8 with 255 for void; `image_id`, int or str; `where`, its file."""


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a data set tells the model and the task.

    Attributes:
        num_classes: K of the image's label; 0 if it has none.
        class_names: K names, in label order.
        factors: coarser readings of the label: factor name -> group of each class.
            A task reports one accuracy for each, e.g. texture and layout of `shapes`.
        box_names: names of the objects' classes, in the order of `box_labels`; empty if
            there are no boxes.
        box_category_ids: their ids in the annotation file, for results that others read;
            empty for 1, 2, ...
        segmentation_names: names of the classes of pixels; empty if there are no masks.
        largest_hw: (height, width) in px that no image exceeds; None if not known.
    """

    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    factors: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    box_names: tuple[str, ...] = ()
    box_category_ids: tuple[int, ...] = ()
    segmentation_names: tuple[str, ...] = ()
    largest_hw: tuple[int, int] | None = None


class Source(Protocol):
    """Random access to the examples of one split.

    A source whose images cost time to decode may also have `annotations(index)`, which
    returns the example without `image` but with `original_hw`, its (height, width).
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
    """A wiring of ResNet and ViT parts: images in, `Features` out.

    Attributes:
        channels: stride -> channels of the map it gives.
        width: D of `Features.pooled`.
        parts: the parts it builds, of "resnet" and "vit"; each is an attribute.
        starts_as: the part whose features it equals at initialization, if any.
    """

    channels: dict[int, int]
    width: int
    parts: ClassVar[tuple[str, ...]]
    starts_as: ClassVar[str | None]

    def __call__(
        self, images: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> Features: ...


class Head(Protocol):
    """Turns `Features` into the outputs of one task.

    Called as `Head(channels, width=, num_classes=, dtype=, rngs=, **options)`, where
    `channels` has at least the strides it wants. One with `reads_targets = True` is also
    given `targets=` in training: the batch, or None if only shapes are traced.

    Attributes:
        task: the name of the task that reads its outputs.
        strides: the strides it reads from `Features.maps`, empty if it reads `pooled`. An
            option `strides` of its constructor, where there is one, takes their place.
    """

    task: ClassVar[str]
    strides: ClassVar[tuple[int, ...]]

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> Outputs: ...


class Scorer(Protocol):
    """Collects what a task predicts for a whole set, on the host, and scores it at once.

    For scores that are no averages over images, such as average precision.
    """

    def add(self, predictions: Mapping[str, np.ndarray], index: np.ndarray) -> None:
        """Takes the predictions for the examples `index` (b,); all rows are real."""
        ...

    def scores(self) -> dict[str, float]:
        """Returns the scores of all that was added."""
        ...

    def write(self, stem: Any) -> None:
        """Writes results for other tools beside the path `stem`, which has no suffix."""
        ...


class Task(Protocol):
    """Loss and metrics of one kind of outputs; sees outputs and batches, never features.

    Every number it returns is a sum over the real rows of the batch, so that sums over
    batches and hosts stay exact; `summarize` divides once at the end.

    Attributes:
        targets: what its batches carry, of "label", "boxes" and "segmentation".
        main_score: the score by which a checkpoint is the best one.
    """

    targets: ClassVar[tuple[str, ...]]
    main_score: ClassVar[str]

    @staticmethod
    def num_classes(info: DatasetInfo) -> int:
        """Returns the K of the heads; UserError if the data has no such targets."""
        ...

    def infer(self, model: Callable[..., Outputs], image: jax.Array, **kw: Any) -> Outputs:
        """Applies the model to evaluation images, once or several times (windows)."""
        ...

    def predict(
        self, outputs: Outputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns what `scorer` needs, of fixed shapes, one row for each of the batch."""
        ...

    def draw(self, image_u8: np.ndarray, prediction: Mapping) -> np.ndarray:
        """Draws one row of what `predict` returns over its image; both (H, W, 3) uint8."""
        ...

    def to_json(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns one row of what `predict` returns as JSON, with names of classes."""
        ...

    def scorer(self, source: Source) -> Scorer | None:
        """Returns what scores predictions for a split, or None if the sums say it all."""
        ...

    def augment(self, batch: Batch, *, key: jax.Array) -> dict[str, jax.Array]:
        """Changes a training batch on the device: flips, mixes, erases."""
        ...

    def loss(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> "Mean":
        """Returns the loss as a sum over real rows and their count."""
        ...

    def metrics(
        self, outputs: Outputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns the sums from which `summarize` computes the scores."""
        ...

    def summarize(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the scores of a whole set from its summed metrics."""
        ...


@struct.dataclass
class Mean:
    """An average kept as its two halves until the last moment.

    Attributes:
        total: the sum.
        count: what it is divided by.
        parts: terms of the sum, each named, for the log.
    """

    total: jax.Array
    count: jax.Array
    parts: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)
