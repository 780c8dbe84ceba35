"""Checks of the options of fusions and heads, before these are built."""

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.config.renamed_keys import RENAMED_KEYS
from hybrid_jax.errors import UserError, nearest
from hybrid_jax.specs import ResNetSpec

_GIVEN = {
    "fusion": {"self", "resnet_spec", "vit_spec", "image_size", "rngs"},
    "head": {"self", "channels", "width", "num_classes", "dtype", "rngs"},
}


def check_options(name: str, entry: type, options: Mapping[str, Any]) -> None:
    """Checks names and types of options against the keyword arguments of a constructor.

    Args:
        name: the kind and the name, for messages, such as "fusion 'vit'".
        entry: the class.
        options: option -> value.

    Raises:
        UserError: an unknown option, or a value whose type is not the annotated one.
    """
    given = _GIVEN[name.split()[0]]
    known = [p for p in inspect.signature(entry.__init__).parameters if p not in given]
    hints = typing.get_type_hints(entry.__init__)
    for option, value in options.items():
        if option not in known:
            raise UserError(
                f"{name} has no option {option!r}.{_suggestion(name, option, known)} "
                f"It accepts: {', '.join(known) or 'none'}."
            )
        if option in hints and not _fits(value, hints[option]):
            raise UserError(
                f"{name}: {option}: expected {_named(hints[option])}, got {value!r}."
            )


def _suggestion(name: str, option: str, known: list[str]) -> str:
    kind, entry, _ = name.replace(" ", "").split("'")
    key = f"model.{kind}_options.{entry}.{option}"
    if key in RENAMED_KEYS:
        return f" It is now called {RENAMED_KEYS[key].rpartition('.')[2]!r}."
    return nearest(option, known)


def check_has_stages(fusion: str, resnet: ResNetSpec) -> None:
    """Raises UserError for a ResNet without stages."""
    if not resnet.blocks:
        raise UserError(
            f"fusion {fusion!r}: resnet: expected a ResNet with stages, got one without "
            f"(size 'r'). Choose r26, r50, r101 or r152."
        )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the annotated type; lists are accepted as tuples."""
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
    """Returns an annotation as text, such as `tuple[int, ...] or None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_named(kind) for kind in typing.get_args(hint))
    if hint is type(None):
        return "None"
    return (
        hint.__name__
        if isinstance(hint, type) and not typing.get_args(hint)
        else (str(hint).replace("collections.abc.", "").replace("typing.", ""))
    )
