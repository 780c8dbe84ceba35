"""What a dialect tells about a file: which model it holds, and which array goes where."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from hybrid_jax.pretrained.codecs import Codec
from hybrid_jax.specs import ResNetSpec, ViTSpec


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array that is still in its file.

    Attributes:
        shape: as the file has it.
        dtype: as the file has it.
        read: returns the array; called as late and as seldom as possible.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


Stored = dict[str, StoredArray]
"""Arrays of a file by key, in the order of the file."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Arrays of a model and the arrays of a file that hold the same numbers.

    Attributes:
        paths: of the model, relative to its parts: `resnet/stem/conv/kernel`,
            `vit/blocks/0/attn/qkv/kernel`, `head/logits/bias`.
        keys: of the file.
        codec: translates `keys` to `paths` and back.
    """

    paths: tuple[str, ...]
    keys: tuple[str, ...]
    codec: Codec


def entry(path: str | tuple[str, ...], keys: str | tuple[str, ...], codec: Codec) -> Entry:
    """Returns an `Entry`; a single path or key needs no tuple."""
    paths = (path,) if isinstance(path, str) else path
    return Entry(paths, (keys,) if isinstance(keys, str) else keys, codec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How images were prepared for the published model; values of config keys.

    Attributes:
        normalization: `model.normalization`.
        interpolation: `data.interpolation`.
        eval_crop: `data.eval_crop`.
        certain: False if the file does not tell and this is the usual choice.
    """

    normalization: str = "half"
    interpolation: str = "bicubic"
    eval_crop: float = 1.0
    certain: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """The model a file holds, as far as names and shapes tell.

    Attributes:
        fusion: name in the registry.
        options: of the fusion.
        resnet: the ResNet part, None if the file has none.
        vit: the ViT part, None if the file has none; its numerics are the dialect's.
        grid: (h, w) of the position table, None without learned positions.
        cls_position: whether the position table has a row for the class token.
        num_classes: K of the file's head, 0 if it has none.
        head: name in the registry.
        head_options: of the head.
        preprocessing: of its images.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hints:
    """What the caller knows and a file may not tell.

    Attributes:
        heads: attention heads, where a file has one matrix for all of them.
        grid: (h, w) of the position table, where it is not a square.
    """

    num_heads: int | None = None
    grid: tuple[int, int] | None = None


class Dialect(Protocol):
    """One layout of checkpoints; all methods look at keys and shapes alone."""

    name: str

    def recognizes(self, stored: Stored) -> bool:
        """Tells whether a file speaks this dialect; exactly one dialect may say so."""
        ...

    def tidy(self, stored: Stored) -> Stored:
        """Gives arrays the keys that `entries` uses: prefixes off, stacks undone."""
        ...

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file.

        Raises:
            UserError: the names or shapes are of no model of this dialect, or do not tell
                something that `hints` must then say.
        """
        ...

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns where every array of such a model stands in such a file."""
        ...
