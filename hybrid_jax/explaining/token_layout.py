"""Which cells of the image the tokens of a sequence are."""

import dataclasses
import itertools
from collections.abc import Collection, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.contracts import Fusion
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.layers.deformable import cell_centers_px
from hybrid_jax.models.vit.vit import ViT

_STRIDES = (1, 2, 4, 8, 16, 32, 64, 128)  # px


@dataclasses.dataclass(frozen=True)
class Layout:
    """Tokens that are the cells of one or several grids over an image, row by row.

    Attributes:
        image_hw: (H, W) in px.
        strides: px per cell of each grid, in the order of the tokens.
        prefix: tokens before them that are no cells.
    """

    image_hw: tuple[int, int]
    strides: tuple[int, ...]
    prefix: int = 0

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of each grid."""
        return tuple(grid_of(self.image_hw, stride) for stride in self.strides)

    @property
    def count(self) -> int:
        """How many tokens there are, with the prefix."""
        return self.prefix + sum(h * w for h, w in self.grids)

    def centers_px(self) -> np.ndarray:
        """Returns (N, 2), x and y of the center of every cell."""
        pairs = zip(self.grids, self.strides, strict=True)
        return np.concatenate([cell_centers_px(hw, stride) for hw, stride in pairs])

    def to_map(self, values: jax.Array) -> jax.Array:
        """Maps one value per token (..., prefix + N) to the finest grid (..., h, w).

        The prefix is left out. With several grids, every cell has the sum over all of
        them.
        """
        finest = min(self.strides)
        h, w = grid_of(self.image_hw, finest)
        total, first = jnp.zeros((*values.shape[:-1], h, w), values.dtype), self.prefix
        for (rows, columns), stride in zip(self.grids, self.strides, strict=True):
            level = values[..., first : first + rows * columns]
            level = level.reshape(*values.shape[:-1], rows, columns)
            level = level.repeat(stride // finest, -1).repeat(stride // finest, -2)
            total += level[..., :h, :w]
            first += rows * columns
        return total

    def shares_to_map(self, shares: jax.Array) -> jax.Array:
        """As `to_map` for shares of a whole: a coarse cell's is spread over its part."""
        finest = min(self.strides)
        areas = [
            np.full(h * w, (stride // finest) ** 2, np.float32)
            for (h, w), stride in zip(self.grids, self.strides, strict=True)
        ]
        areas = np.concatenate([np.ones(self.prefix, np.float32), *areas])
        return self.to_map(shares / areas)

    def coarser(self, other: "Layout") -> np.ndarray:
        """Returns (N', N): each token of a coarser grid as the mean of those it covers.

        Raises:
            ValueError: one of them has several grids, or the strides do not divide.
        """
        (stride,), (wide,) = self.strides, other.strides
        if wide % stride or self.prefix != other.prefix:
            raise ValueError(f"Layout: {other} is not a coarser grid of {self}.")
        (h, w), (_, columns) = self.grids[0], other.grids[0]
        y, x = np.divmod(np.arange(h * w), w)
        covering = y // (wide // stride) * columns + x // (wide // stride)
        matrix = np.zeros((other.count, self.count), np.float32)
        matrix[other.prefix + covering, self.prefix + np.arange(h * w)] = 1.0
        matrix[np.arange(self.prefix), np.arange(self.prefix)] = 1.0
        return matrix / matrix.sum(1, keepdims=True)


class Layouts:
    """The layouts of all sequences of a fusion.

    Args:
        backbone: the fusion.
        image_hw: (H, W) of the images in px.
        blocks: see `Seen`.
    """

    def __init__(
        self,
        backbone: Fusion,
        image_hw: tuple[int, int],
        blocks: Sequence[tuple[int, tuple[int, int] | None]],
    ):
        vit = getattr(backbone, "vit", None)
        self._image_hw = image_hw
        self._prefixes = {0: None}
        strides = set(_STRIDES) | set(backbone.channels)
        strides |= {getattr(backbone, "stride", 1)}
        self._known: dict[int, Layout | None] = {}
        if isinstance(vit, ViT):
            strides.add(vit.spec.patch_size)
            self._prefixes[vit.prefix] = None
            for count, hw in blocks:
                if vit.embed is None:
                    self._known[count] = None  # learned tokens
                elif hw is not None:
                    self._known[count] = self._on_grid(hw, strides, prefix=vit.prefix)
        maps = sorted(backbone.channels)
        maps.append(2 * maps[-1])
        runs = itertools.combinations(range(len(maps) + 1), 2)
        self._candidates = [
            *((stride,) for stride in sorted(strides)),
            *(tuple(maps[a:b]) for a, b in runs if b - a > 1),
        ]

    def of(self, count: int) -> Layout | None:
        """Returns the layout of a sequence of `count` tokens; None if they are no cells."""
        if count in self._known:
            return self._known[count]
        for prefix, strides in itertools.product(self._prefixes, self._candidates):
            layout = Layout(self._image_hw, strides, prefix)
            if layout.count == count:
                return layout
        return None

    def _on_grid(
        self, hw: tuple[int, int], likely: Collection[int], *, prefix: int
    ) -> Layout | None:
        """Returns the layout of a grid; several strides can give the same small grid."""
        for stride in (*sorted(likely), *range(1, max(_STRIDES) + 1)):
            if grid_of(self._image_hw, stride) == hw:
                return Layout(self._image_hw, (stride,), prefix)
        return None
