"""How an array of another library becomes one of ours, and back.

A codec reads arrays of a file into arrays of a model and writes them the other way, so
that loading and exporting cannot disagree. Both directions are views or small copies.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Codec:
    """A pair of inverse translations.

    Attributes:
        read: the file's arrays, one argument each, to a tuple of the model's.
        write: the model's arrays, one argument each, to a tuple of the file's.
    """

    read: Callable[..., Arrays]
    write: Callable[..., Arrays]


def one(read: Callable, write: Callable) -> Codec:
    """Returns the codec of one array for one."""
    return Codec(lambda array: (read(array),), lambda array: (write(array),))


# The same array on both sides.
SAME = one(lambda a: a, lambda a: a)

# torch keeps a linear map as (out, in), flax as (in, out).
LINEAR_OI = one(lambda a: a.T, lambda a: a.T)

# torch keeps a convolution as (out, in, kh, kw), flax as (kh, kw, in, out).
CONV_OIHW = one(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))

# A vector kept with leading axes of one, such as a norm's (1, 1, 1, C) or a token's
# (1, 1, D); what is written has none.
VECTOR = one(lambda a: a.reshape(-1), lambda a: a)

# A 1x1 convolution (out, in, 1, 1) that is our linear map (in, out).
LINEAR_OI11 = one(lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None])


def tokens(count: int) -> Codec:
    """Returns the codec of (1, count, D), as files keep tokens, for (count, D)."""
    return one(lambda a: a.reshape(count, a.shape[-1]), lambda a: a[None])


def positions(grid: tuple[int, int], *, cls: bool) -> Codec:
    """Returns the codec of a position table for the class token's position and a grid.

    Args:
        grid: (h, w) of the patches the table was made for.
        cls: whether the first of the (1, N + 1, D) rows is the class token's. Without, the
            class token has no position of its own, which is a position of zeros.
    """
    h, w = grid

    def read(table):
        rows = table.reshape(-1, table.shape[-1])
        first = rows[:1] if cls else np.zeros_like(rows[:1])
        return first, rows[int(cls) :].reshape(h, w, rows.shape[-1])

    def write(first, cells):
        rows = cells.reshape(h * w, -1)
        return (np.concatenate([first, rows])[None] if cls else rows[None],)

    return Codec(read, write)


def grid_positions(grid: tuple[int, int]) -> Codec:
    """Returns the codec of (1, N, D) positions for (h, w, D), of a ViT without a token."""
    h, w = grid
    return one(
        lambda table: table.reshape(h, w, table.shape[-1]),
        lambda cells: cells.reshape(1, h * w, -1),
    )


def _joined(read_one: Callable, write_one: Callable) -> Codec:
    def read(query, key, value):
        return (np.stack([read_one(a) for a in (query, key, value)], -2),)

    def write(joined):
        return tuple(write_one(joined[..., part, :]) for part in range(3))

    return Codec(read, write)


# Query, key and value as one linear map (3 D, D), or as one vector (3 D): ours is one
# kernel (D, 3, D), one bias (3, D).
QKV_LINEAR_OI = one(
    lambda a: a.T.reshape(a.shape[1], 3, -1), lambda a: a.reshape(a.shape[0], -1).T
)
QKV_BIAS = one(lambda a: a.reshape(3, -1), lambda a: a.reshape(-1))

# The same as three linear maps (out, in), or as three vectors.
QKV_LINEARS_OI = _joined(lambda a: a.T, lambda a: a.T)
QKV_BIASES = _joined(lambda a: a, lambda a: a)


def qkv_heads(num_heads: int) -> Codec:
    """Returns the codec of query, key and value as flax keeps them, (D, heads, d) each."""
    return _joined(
        lambda a: a.reshape(a.shape[0], -1), lambda a: a.reshape(a.shape[0], num_heads, -1)
    )


def qkv_head_biases(num_heads: int) -> Codec:
    """Returns the codec of three biases (heads, d) for our one (3, D)."""
    return _joined(lambda a: a.reshape(-1), lambda a: a.reshape(num_heads, -1))


def out_heads(num_heads: int) -> Codec:
    """Returns the codec of flax's output projection (heads, d, D) for our (D, D)."""
    return one(
        lambda a: a.reshape(-1, a.shape[-1]),
        lambda a: a.reshape(num_heads, -1, a.shape[-1]),
    )


def in_heads(num_heads: int) -> Codec:
    """Returns the codec of one of flax's projections (D, heads, d) for our (D, D)."""
    return one(
        lambda a: a.reshape(a.shape[0], -1), lambda a: a.reshape(a.shape[0], num_heads, -1)
    )


def in_head_biases(num_heads: int) -> Codec:
    """Returns the codec of its bias (heads, d) for our (D,)."""
    return one(lambda a: a.reshape(-1), lambda a: a.reshape(num_heads, -1))
