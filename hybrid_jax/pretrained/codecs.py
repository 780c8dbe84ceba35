"""Codecs: conversion of arrays from the layout of another library to ours, and back.

Loading and exporting use the same codecs. Both directions are views or small copies.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Codec:
    """A pair of inverse conversions.

    Attributes:
        read: maps the file's arrays, one argument each, to a tuple of the model's arrays.
        write: maps the model's arrays, one argument each, to a tuple of the file's arrays.
    """

    read: Callable[..., Arrays]
    write: Callable[..., Arrays]


def one(read: Callable, write: Callable) -> Codec:
    """Returns a codec from one array to one array."""
    return Codec(lambda array: (read(array),), lambda array: (write(array),))


# The same array on both sides.
SAME = one(lambda a: a, lambda a: a)

# The kernel of a linear layer is (out, in) in torch and (in, out) in flax.
LINEAR_OI = one(lambda a: a.T, lambda a: a.T)

# The kernel of a convolution is (out, in, kh, kw) in torch, (kh, kw, in, out) in flax.
CONV_OIHW = one(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))

# A vector stored with leading axes of size one, such as (1, 1, 1, C) of a norm or (1, 1, D)
# of a token; it is written without them.
VECTOR = one(lambda a: a.reshape(-1), lambda a: a)

# A 1x1 convolution (out, in, 1, 1) that is a linear layer (in, out) here.
LINEAR_OI11 = one(lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None])


def tokens(count: int) -> Codec:
    """Returns the codec of tokens: (1, count, D) in files, (count, D) here."""
    return one(lambda a: a.reshape(count, a.shape[-1]), lambda a: a[None])


def positions(grid: tuple[int, int], *, cls: bool) -> Codec:
    """Returns the codec of a position table: (1, D) for the class token and (h, w, D).

    Args:
        grid: (h, w) of the table's patches.
        cls: whether the first of the (1, N + 1, D) rows is the class token's; if not, its
            position is zero.
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
    """Returns the codec of positions of a ViT without class token: (1, N, D), (h, w, D)."""
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


# Query, key and value as one kernel (3 D, D) and one bias (3 D); here (D, 3, D) and (3, D).
QKV_LINEAR_OI = one(
    lambda a: a.T.reshape(a.shape[1], 3, -1), lambda a: a.reshape(a.shape[0], -1).T
)
QKV_BIAS = one(lambda a: a.reshape(3, -1), lambda a: a.reshape(-1))

# The same from three kernels (out, in) and three biases.
QKV_LINEARS_OI = _joined(lambda a: a.T, lambda a: a.T)
QKV_BIASES = _joined(lambda a: a, lambda a: a)


def qkv_heads(num_heads: int) -> Codec:
    """Returns the codec of flax's query, key and value kernels, (D, heads, d) each."""
    return _joined(
        lambda a: a.reshape(a.shape[0], -1), lambda a: a.reshape(a.shape[0], num_heads, -1)
    )


def qkv_head_biases(num_heads: int) -> Codec:
    """Returns the codec of flax's query, key and value biases, (heads, d) each."""
    return _joined(lambda a: a.reshape(-1), lambda a: a.reshape(num_heads, -1))


def out_heads(num_heads: int) -> Codec:
    """Returns the codec of flax's output projection: (heads, d, D), (D, D) here."""
    return one(
        lambda a: a.reshape(-1, a.shape[-1]),
        lambda a: a.reshape(num_heads, -1, a.shape[-1]),
    )


def in_heads(num_heads: int) -> Codec:
    """Returns the codec of one of flax's projections: (D, heads, d), (D, D) here."""
    return one(
        lambda a: a.reshape(a.shape[0], -1), lambda a: a.reshape(a.shape[0], num_heads, -1)
    )


def in_head_biases(num_heads: int) -> Codec:
    """Returns the codec of the bias of one projection: (heads, d), (D,) here."""
    return one(lambda a: a.reshape(-1), lambda a: a.reshape(num_heads, -1))
