"""What a fusion and a head answer, compared with what they promise; UserError if not.

Types and shapes are known while a model is traced: a compiled step does not pay for it.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import chex
import jax

from hybrid_jax.contracts import Features, Fusion, Head
from hybrid_jax.errors import UserError
from hybrid_jax.models.image_grid import grid_of


def check_features(backbone: Fusion, features: Any, images: jax.Array) -> None:
    """Checks what a fusion returns for images (B, H, W, 3).

    Raises:
        UserError: it is not `Features`.
        AssertionError: it has other shapes than the fusion promises.
    """
    B, H, W, _ = images.shape
    name = type(backbone).__name__
    if not isinstance(features, Features):
        raise UserError(
            f"fusion {name}: expected Features from __call__, got {_kind(features)}. "
            f"Return Features(maps={{stride: map}}, pooled=vector)."
        )
    chex.assert_shape(
        features.pooled, (B, backbone.width), custom_message=f"pooled of {name}"
    )
    chex.assert_equal(set(features.maps), set(backbone.channels))
    for stride, channels in backbone.channels.items():
        chex.assert_shape(
            features.maps[stride],
            (B, *grid_of((H, W), stride), channels),
            custom_message=f"map of stride {stride} of {name}, (B, h, w, C)",
        )


def check_outputs(head: Head, outputs: Any) -> None:
    """Raises `UserError` if a head returns arrays and not outputs of a task."""
    if not dataclasses.is_dataclass(outputs):
        raise UserError(
            f"head {type(head).__name__}: expected outputs of the task {head.task!r} from "
            f"__call__, a dataclass of hybrid_jax/outputs.py, got {_kind(outputs)}. Return "
            f"for example ClassificationOutputs(logits)."
        )


@contextlib.contextmanager
def naming_strides(
    head: str, *, declared: tuple[int, ...], given: Mapping[int, Any]
) -> Iterator[None]:
    """Says of a map that a head looks for in vain that it has to declare its stride.

    Args:
        head: its name.
        declared: strides that it says it reads.
        given: stride -> what there is.

    Raises:
        UserError: a `KeyError` of a stride that is not there.
    """
    try:
        yield
    except KeyError as error:
        (stride,) = error.args or (None,)
        if not isinstance(stride, int) or stride in (*given, *declared):
            raise
        raise UserError(
            f"head {head}: it reads the map of stride {stride}, but declares "
            f"strides = {declared}. Declare it, as in strides = "
            f"{tuple(sorted({*declared, stride}))}; a stride that the fusion does not give "
            f"is made then. There are: {', '.join(map(str, given)) or 'none'}."
        ) from error


def _kind(value: Any) -> str:
    if isinstance(value, jax.Array):
        return f"an array of shape {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"
