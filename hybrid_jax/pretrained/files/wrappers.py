"""What training code puts in front of the names of a model's arrays, and takes off again.

`module.` is DataParallel's, `_orig_mod.` torch.compile's, `model.` Lightning's and many
others'; `backbone.` and `encoder.` come from detectors and self-supervised training, which
also keeps two models in one file, `student.` and `teacher.`.
"""

from collections.abc import Iterator

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Stored

_WRAPPERS = (
    *("module.", "model.", "_orig_mod.", "backbone.", "encoder.", "net.", "network."),
    *("student.", "teacher.", "model_ema.", "ema.", "state_dict."),
)


def unwrapped(stored: Stored) -> Iterator[Stored]:
    """Yields the arrays as they are, then without one wrapper after the other.

    A wrapper is taken off only where all names have it: what lies beside it may belong to
    the model, so nobody but the user can leave it out.
    """
    yield stored
    while True:
        wrapper = next((w for w in _WRAPPERS if all(k.startswith(w) for k in stored)), None)
        if wrapper is None or not stored:
            return
        stored = {key.removeprefix(wrapper): array for key, array in stored.items()}
        yield stored


def parts_by_wrapper(stored: Stored) -> dict[str, Stored]:
    """Returns wrapper -> the arrays inside it, for those that some names have."""
    parts = {
        wrapper: {
            k.removeprefix(wrapper): a for k, a in stored.items() if k.startswith(wrapper)
        }
        for wrapper in _WRAPPERS
    }
    return {wrapper: inside for wrapper, inside in parts.items() if inside}


def only_below(stored: Stored, prefix: str) -> Stored:
    """Returns the arrays whose names begin with `prefix`, without it and the dot behind.

    Raises:
        UserError: there is none; the beginnings that there are are named.
    """
    if not prefix:
        return stored
    prefix = prefix.rstrip(".") + "."
    inside = {k.removeprefix(prefix): a for k, a in stored.items() if k.startswith(prefix)}
    if not inside:
        first = sorted({f"{key.split('.')[0]}." for key in stored})
        raise UserError(
            f"no name of an array begins with the prefix {prefix!r}; they begin with "
            f"{', '.join(first[:8])}. Choose one of these."
        )
    return inside
