"""The interface of dialects: the model in a file, and the mapping of its arrays."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from hybrid_jax.pretrained.codecs import Codec
from hybrid_jax.specs import ResNetSpec, ViTSpec


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in a file, not read yet.

    Attributes:
        shape: shape in the file.
        dtype: dtype in the file.
        read: reads and returns the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


Stored = dict[str, StoredArray]
"""Arrays of a file by key, in the order of the file."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """The mapping between some arrays of a model and the same arrays of a file.

    Attributes:
        paths: paths in the model, relative to its parts: `resnet/stem/conv/kernel`,
            `vit/blocks/0/attn/qkv/kernel`, `head/logits/bias`.
        keys: keys in the file.
        codec: converts the arrays of `keys` to those of `paths` and back.
    """

    paths: tuple[str, ...]
    keys: tuple[str, ...]
    codec: Codec


def entry(path: str | tuple[str, ...], keys: str | tuple[str, ...], codec: Codec) -> Entry:
    """Returns an `Entry`; a single path or key may be a string."""
    paths = (path,) if isinstance(path, str) else path
    return Entry(paths, (keys,) if isinstance(keys, str) else keys, codec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Image preprocessing of a published model, as values of config keys.

    Attributes:
        normalization: `model.normalization`.
        interpolation: `data.interpolation`.
        eval_crop: `data.eval_crop`.
        certain: False if this is assumed, because the file does not contain it.
    """

    normalization: str = "half"
    interpolation: str = "bicubic"
    eval_crop: float = 1.0
    certain: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """The model in a file, inferred from names and shapes.

    Attributes:
        fusion: name of the fusion.
        options: options of the fusion.
        resnet: spec of the ResNet, None if the file has none.
        vit: spec of the ViT, None if the file has none; with the numerics of the dialect.
        grid: (h, w) of the position table, None without learned positions.
        cls_position: whether the position table has a row for the class token.
        num_classes: K of the file's head, 0 if it has none.
        head: name of the head.
        head_options: options of the head.
        preprocessing: preprocessing of images.
    """

    fusion: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    resnet: ResNetSpec | None = None
    vit: ViTSpec | None = None
    grid: tuple[int, int] | None = None
    cls_position: bool = True
    num_classes: int = 0
    head: str = "linear"
    head_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preprocessing: Preprocessing = Preprocessing()

    @property
    def given_resnet(self) -> ResNetSpec:
        """The spec of the ResNet of a model that has one."""
        assert self.resnet is not None
        return self.resnet

    @property
    def given_vit(self) -> ViTSpec:
        """The spec of the ViT of a model that has one."""
        assert self.vit is not None
        return self.vit

    @property
    def given_grid(self) -> tuple[int, int]:
        """The (h, w) of the position table of a model that has one."""
        assert self.grid is not None
        return self.grid


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hints:
    """Facts from the caller that some files do not contain.

    Attributes:
        num_heads: attention heads, if the file has one matrix for all of them.
        grid: (h, w) of the position table, if it is not square.
        file_hw: (height, width) in px that the file is made for, said beside it.
        image_hw: (height, width) in px of the caller's images.
        prefix: with which the names of the model's arrays begin, if the file holds others.
    """

    num_heads: int | None = None
    grid: tuple[int, int] | None = None
    file_hw: tuple[int, int] | None = None
    image_hw: tuple[int, int] | None = None
    prefix: str = ""


class Dialect(Protocol):
    """One layout of checkpoints; all methods use keys and shapes only."""

    name: str

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has this layout; at most one dialect may return True."""
        ...

    def tidy(self, stored: Stored) -> Stored:
        """Returns the arrays under the keys that `entries` uses, without prefixes."""
        ...

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file.

        Raises:
            UserError: not a model of this dialect, or something is missing in both the
                file and `hints`.
        """
        ...

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a model."""
        ...
