"""Folding for inference: what is constant once a model is trained, computed once.

A standardized convolution keeps its standardized kernel; a BatchNorm right behind a
convolution becomes part of its kernel and bias; a RepVGG block becomes one convolution.
In eval mode the model gives what it gave, to rounding.

A module that can fold itself has `fold_in_place() -> None`; it is called when everything
inside it has been folded. Nothing else has to know it.
"""

from typing import Protocol, runtime_checkable

import jax
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.layers.convolution import Conv


@runtime_checkable
class Foldable(Protocol):
    """A module with something that inference need not compute for every image."""

    def fold_in_place(self) -> None:
        """Folds what this module itself wires; its submodules are folded already."""


def fold(model: nnx.Module) -> None:
    """Folds a model in place, for inference alone. Folding again changes nothing.

    Arrays stay float32, on the devices they are on. They are replaced one by one, so that
    no second model is in memory unless the caller still holds the arrays of the first.
    GroupNorm and LayerNorm stay: their statistics belong to each image. So does a
    BatchNorm that no convolution stands right before.

    The folded model's arrays are not those of its checkpoint and some of their names are
    gone: it can be neither trained nor exported.

    Args:
        model: any module of this library: a `Hybrid`, a fusion or a part of one.
    """
    modules = sorted(nnx.iter_modules(model), key=lambda found: -len(found[0]))
    for _, module in modules:
        if isinstance(module, Foldable):
            module.fold_in_place()


class FoldedNorm(nnx.Module):
    """Stands where a norm was that the convolution before it has taken in."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns `x`, (B, h, w, C), as it is.

        Raises:
            UserError: `train` is on: there are no statistics left to train with.
        """
        if train:
            raise UserError(
                "train: expected False, got True: this model is folded for inference, its "
                "BatchNorms are parts of its convolutions. Train the model it was folded "
                "from, then fold that again."
            )
        return x

    def folded_into(self, conv: Conv) -> "FoldedNorm":
        """Returns itself: `conv` has taken the norm in."""
        return self


def folded_norm(conv: Conv | None, norm: nnx.Module | None) -> nnx.Module | None:
    """Folds a norm into the convolution right before it, as far as it can be.

    Args:
        conv: changed in place; None if something else stands before the norm.
        norm: with `folded_into(conv)`, as in `normalization.py`; None for none.

    Returns:
        What stands in the norm's place from now on.
    """
    if conv is None or norm is None:
        return norm
    return norm.folded_into(conv)
