"""Checking what a fusion or a head is asked for, before it is built."""

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.specs import ResNetSpec

_GIVEN = {
    "fusion": {"self", "resnet_spec", "vit_spec", "image_size", "rngs"},
    "head": {"self", "channels", "width", "num_classes", "dtype", "rngs"},
}


def check_options(name: str, entry: type, options: Mapping[str, Any]) -> None:
    """Compares options with the keyword arguments of a constructor.

    Args:
        name: "fusion 'vit'" or "head 'linear'": the kind, and what messages call it.
        entry: the class.
        options: what was asked for.

    Raises:
        UserError: an option it does not have, or a value of another type than it states.
    """
    given = _GIVEN[name.split()[0]]
    known = [p for p in inspect.signature(entry.__init__).parameters if p not in given]
    hints = typing.get_type_hints(entry.__init__)
    for option, value in options.items():
        if option not in known:
            raise UserError(
                f"{name} has no option {option!r}.{nearest(option, known)} "
                f"It accepts: {', '.join(known) or 'none'}."
            )
        if option in hints and not _fits(value, hints[option]):
            raise UserError(
                f"{name}: {option}: expected {_named(hints[option])}, got {value!r}."
            )


def check_has_stages(fusion: str, resnet: ResNetSpec) -> None:
    """Raises UserError for a ResNet that is a root block alone."""
    if not resnet.blocks:
        raise UserError(
            f"fusion {fusion!r}: resnet: expected a ResNet with stages, got a root block "
            f"alone (size 'r'); choose r26, r50, r101 or r152."
        )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; a list passes for a tuple."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, kind) for kind in typing.get_args(hint))
    if origin in (tuple, Sequence):
        kind = typing.get_args(hint)[0]
        return isinstance(value, tuple | list) and all(_fits(v, kind) for v in value)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if hint is float else hint)


def _named(hint: Any) -> str:
    """Returns `tuple[int, ...] or None` for the annotation of that type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_named(kind) for kind in typing.get_args(hint))
    if hint is type(None):
        return "None"
    return (
        hint.__name__
        if isinstance(hint, type) and not typing.get_args(hint)
        else (str(hint).replace("collections.abc.", "").replace("typing.", ""))
    )
