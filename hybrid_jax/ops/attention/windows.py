"""Window attention: attention inside square windows of maps (Swin, 2021; ViTDet, 2022)."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from hybrid_jax.array_types import Array, Map, Queries
from hybrid_jax.ops.attention.dot_product import attention


def to_windows(x: Map, *, window_size: int) -> Float[Array, "B n {window_size}**2 C"]:
    """Splits (B, h, w, C) into windows (B, n, window_size**2, C), row by row.

    Rows and columns are padded with zeros at the end to whole windows, so n is
    ceil(h / window_size) * ceil(w / window_size).
    """
    B, h, w, C = x.shape
    x = jnp.pad(x, ((0, 0), (0, -h % window_size), (0, -w % window_size), (0, 0)))
    rows, columns = math.ceil(h / window_size), math.ceil(w / window_size)
    x = x.reshape(B, rows, window_size, columns, window_size, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, rows * columns, window_size * window_size, C)


def from_windows(
    x: Float[Array, "B n _area C"], hw: tuple[int, int], *, window_size: int
) -> Float[Array, "B {hw[0]} {hw[1]} C"]:
    """Inverse of `to_windows`: (B, n, window_size**2, C) to (B, *hw, C)."""
    B, _, _, C = x.shape
    rows, columns = (math.ceil(side / window_size) for side in hw)
    x = x.reshape(B, rows, columns, window_size, window_size, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, rows * window_size, columns * window_size, C)[:, : hw[0], : hw[1]]


def real_cells(
    hw: tuple[int, int], *, window_size: int
) -> Bool[np.ndarray, "n {window_size}**2"]:
    """Returns (n, window_size**2) bool: False for cells of padding."""
    rows, columns = (np.arange(side + -side % window_size) < side for side in hw)
    real = rows[:, None] & columns
    real = real.reshape(
        len(rows) // window_size, window_size, len(columns) // window_size, window_size
    )
    return real.transpose(0, 2, 1, 3).reshape(-1, window_size * window_size)


def windowed_attention(
    query: Queries,
    key: Queries,
    value: Queries,
    *,
    grids: Sequence[tuple[int, int]],
    window_size: int,
) -> Queries:
    """Attention inside square windows of one or several grids.

    Args:
        query: (B, P + N, heads, d); the last N tokens are the cells of the grids, one
            grid after the other, row by row. The first P tokens attend to all tokens, and
            all tokens attend to them.
        key: as `query`.
        value: as `query`.
        grids: (h, w) of each grid.
        window_size: side of a window in cells; windows at the border may be smaller.

    Returns:
        (B, P + N, heads, d).
    """
    B, total, heads, d = query.shape
    prefix = total - sum(h * w for h, w in grids)
    q, k, v = (_all_windows(x, grids, window_size=window_size) for x in (query, key, value))
    n, area = q.shape[1:3]
    # Keys of a window: the first P tokens and its own cells.
    k, v = (
        jnp.concatenate(
            [
                jnp.broadcast_to(
                    x[:, :prefix].reshape(B, 1, prefix, heads * d),
                    (B, n, prefix, heads * d),
                ),
                windows,
            ],
            axis=2,
        )
        for x, windows in ((key, k), (value, v))
    )
    mask = _key_mask(grids, window_size=window_size, prefix=prefix)
    if mask is not None:
        mask = jnp.broadcast_to(mask, (B, *mask.shape)).reshape(B * n, 1, 1, -1)
    q, k, v = (x.reshape(B * n, -1, heads, d) for x in (q, k, v))
    out = attention(q, k, v, mask=mask).reshape(B, n, area, heads * d)
    tokens = [
        part.reshape(B, -1, heads, d)
        for part in _all_grids(out, grids, window_size=window_size)
    ]
    if prefix:
        tokens.insert(0, attention(query[:, :prefix], key, value))
    return jnp.concatenate(tokens, axis=1)


def _all_windows(x, grids, *, window_size):
    """Splits tokens (B, P + N, heads, d) into (B, n, window_size**2, heads * d)."""
    x = x.reshape(*x.shape[:2], -1)
    windows, start = [], x.shape[1] - sum(h * w for h, w in grids)
    for h, w in grids:
        cells = x[:, start : start + h * w].reshape(x.shape[0], h, w, -1)
        windows.append(to_windows(cells, window_size=window_size))
        start += h * w
    return jnp.concatenate(windows, axis=1)


def _all_grids(x, grids, *, window_size):
    """Inverse of `_all_windows`: one (B, h, w, C) per grid."""
    maps, start = [], 0
    for h, w in grids:
        n = math.ceil(h / window_size) * math.ceil(w / window_size)
        maps.append(from_windows(x[:, start : start + n], (h, w), window_size=window_size))
        start += n
    return maps


def _key_mask(grids, *, window_size, prefix) -> np.ndarray | None:
    """Returns (n, P + window_size**2) bool, False for padding; None without padding."""
    real = np.concatenate([real_cells(hw, window_size=window_size) for hw in grids])
    if real.all():
        return None
    return np.concatenate([np.ones((len(real), prefix), bool), real], axis=1)
