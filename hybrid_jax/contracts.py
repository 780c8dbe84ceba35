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
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypedDict

import jax
import numpy as np
from flax import struct


@struct.dataclass
class Features:
    """What every fusion returns and every head reads.

    Attributes:
        maps: stride -> (B, ceil(H/s), ceil(W/s), C_s), fine to coarse.
        pooled: (B, D), one vector per image.
        mask: (B, H, W) bool, True where the image is real and not padding; None if all is.
        intermediates: chosen transformer blocks as maps, for decoders that want depth
            instead of scale; empty unless asked for.
    """

    maps: dict[int, jax.Array]
    pooled: jax.Array
    mask: jax.Array | None = None
    intermediates: tuple[jax.Array, ...] = ()


@struct.dataclass
class ClassificationOutputs:
    """What a classification head returns: `logits` (B, K) in float32."""

    logits: jax.Array


Outputs = ClassificationOutputs


class Batch(TypedDict, total=False):
    """What the data yields and the tasks read; numpy on the host.

    Keys every batch has: `image` (B, H, W, 3) uint8, `mask` (B,) bool, True for a real
    example and False for a padded row, `skipped` (B,) int32, unreadable images passed over
    on the way to this row. Classification adds `label` (B,) int32.
    """

    image: np.ndarray
    mask: np.ndarray
    skipped: np.ndarray
    label: np.ndarray


Example = dict[str, Any]
"""One example of a source: `image` (H, W, 3) uint8 and, where the source has them,
`label` int; `boxes_xyxy_px` (M, 4) float32, `box_labels` (M,) int32; `segmentation`
(H, W) uint8 with 255 for void; `image_id`."""


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a data set tells the model and the task.

    Attributes:
        num_classes: K.
        class_names: K names, in label order.
        factors: coarser readings of the label: factor name -> group of each class.
            A task reports one accuracy for each, e.g. texture and layout of `shapes`.
    """

    num_classes: int
    class_names: tuple[str, ...]
    factors: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)


class Source(Protocol):
    """Random access to the examples of one split."""

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
        starts_as: the part whose features it equals at initialisation, if any.
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

    Attributes:
        strides: the strides it reads from `Features.maps`; empty if it reads `pooled`.
    """

    strides: ClassVar[tuple[int, ...]]

    def __call__(
        self, features: Features, *, train: bool = False, key: jax.Array | None = None
    ) -> Outputs: ...


class Task(Protocol):
    """Loss and metrics of one kind of outputs; sees outputs and batches, never features.

    Every number it returns is a sum over the real rows of the batch, so that sums over
    batches and hosts stay exact; `summarise` divides once at the end.
    """

    def augment(self, batch: Batch, *, key: jax.Array) -> dict[str, jax.Array]:
        """Changes a training batch on the device: flips, mixes, erases."""
        ...

    def loss(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> "Mean":
        """Returns the loss as a sum over real rows and their count."""
        ...

    def metrics(
        self, outputs: Outputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns the sums from which `summarise` computes the scores."""
        ...

    def summarise(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the scores of a whole set from its summed metrics."""
        ...


@struct.dataclass
class Mean:
    """An average kept as its two halves until the last moment."""

    total: jax.Array
    count: jax.Array
