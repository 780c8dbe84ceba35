"""The grid of a position table, whose cells a file holds in one row after another."""

import math
from collections.abc import Sequence

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints

_ADVICE = (
    "Pass the grid of the file: load_pretrained(..., grid=(rows, columns)), or "
    '--config.model.pretrained_options.grid="(rows,columns)".'
)


def grid_of_table(counts: Sequence[int], hints: Hints, *, where: str) -> tuple[int, int]:
    """Returns the (h, w) of a position table.

    It is the one that the caller gives, that of the image size which the file's
    `config.json` says, a square, or of the shape of the caller's images.

    Args:
        counts: how many cells the table may have, likeliest first.
        where: the table, for messages.

    Raises:
        UserError: it cannot be told, or is not the one that the caller gave.
    """
    counts = [count for count in counts if count > 0]
    said = " or ".join(map(str, counts)) or "no"
    if hints.grid:
        if math.prod(hints.grid) not in counts:
            raise UserError(
                f"{where}: expected {math.prod(hints.grid)} positions for the grid "
                f"{hints.grid}, got {said}. {_ADVICE}"
            )
        return hints.grid
    if known := _of_shape(counts, hints.file_hw):
        return known
    square, like_images = _of_shape(counts, (1, 1)), _of_shape(counts, hints.image_hw)
    if square and like_images and square != like_images:
        raise UserError(
            f"{where}: {said} positions may be a grid of {_times(square)}, or one of "
            f"{_times(like_images)}, which has the shape of your images, and the "
            f"file does not say which. {_ADVICE}"
        )
    if found := square or like_images:
        return found
    raise UserError(
        f"{where}: expected a square grid of positions, got {said} positions. {_ADVICE}"
    )


def _of_shape(counts: Sequence[int], hw: tuple[int, int] | None) -> tuple[int, int] | None:
    """Returns the first grid of the shape of an image (height, width); None if none is."""
    if hw is None:
        return None
    for count in counts:
        rows = math.isqrt(count * hw[0] // hw[1])
        if rows and count % rows == 0 and rows * hw[1] == count // rows * hw[0]:
            return rows, count // rows
    return None


def _times(hw: tuple[int, int]) -> str:
    return f"{hw[0]}x{hw[1]}"
