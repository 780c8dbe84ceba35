"""Folding for inference: constant computations of a trained model are done once.

A standardized convolution stores its standardized kernel; a BatchNorm directly after a
convolution becomes part of its kernel and bias; a RepVGG block becomes one convolution.
In eval mode the outputs stay the same up to rounding.

A module that can be folded has a method `fold_in_place() -> None`, which is called after
its submodules are folded.
"""

from typing import Protocol, runtime_checkable

import jax
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.layers.convolution import Conv


class Norm(Protocol):
    """A norm of maps (B, h, w, C), as in `normalization.py`."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array: ...

    def folded_into(self, conv: Conv) -> "Norm":
        """Folds the norm into `conv`, directly before it, if possible.

        Returns:
            The norm that replaces it: `FoldedNorm`, or itself.
        """
        ...


@runtime_checkable
class Foldable(Protocol):
    """A module that `fold` can change for faster inference."""

    def fold_in_place(self) -> None:
        """Folds this module; its submodules are folded already."""


def fold(model: nnx.Module) -> None:
    """Folds a model in place, for inference only. Idempotent.

    Arrays stay float32 and on their devices. They are replaced one by one, so that there
    is no second copy of the model in memory. GroupNorm and LayerNorm are kept, because
    their statistics are computed from each image. A BatchNorm that does not directly
    follow a convolution is kept too.

    A folded model cannot be trained or exported: its arrays and some of their names differ
    from the checkpoint's.

    Args:
        model: any module of this library: a `Hybrid`, a fusion or a part of one.
    """
    modules = sorted(nnx.iter_modules(model), key=lambda found: -len(found[0]))
    for _, module in modules:
        if isinstance(module, Foldable):
            module.fold_in_place()


class FoldedNorm(nnx.Module):
    """The identity, in place of a norm that is folded into the convolution before it."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns `x`, (B, h, w, C), unchanged.

        Raises:
            UserError: `train` is True; the running statistics are gone.
        """
        if train:
            raise UserError(
                "train: expected False in a model folded for inference, got True. Load the "
                "model again without folding: load_trained(..., folded=False)."
            )
        return x

    def folded_into(self, conv: Conv) -> "FoldedNorm":
        """Returns itself: the norm is folded already."""
        return self
