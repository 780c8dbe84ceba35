"""Tokens after chosen blocks of a ViT, for heads that read depth instead of scale.

Every fusion runs its ViT through `ViT.run_block`, which records the tokens of the blocks
that are asked for. A fusion needs no code for it.
"""

import contextlib
import contextvars
from collections.abc import Iterable, Iterator

import jax

from hybrid_jax.contracts import BlockFeatures, Fusion
from hybrid_jax.errors import UserError
from hybrid_jax.models.image_grid import grid_of, hw_of

_LARGEST_STRIDE = 128  # px per token


class Taps:
    """Records patch tokens and class token after chosen blocks, in one forward pass.

    Args:
        numbers: of blocks from 0, in any order.
    """

    def __init__(self, numbers: tuple[int, ...]):
        self.numbers = numbers
        self._found: dict[int, tuple[jax.Array, jax.Array | None]] = {}

    def record(self, index: int, patches: jax.Array, cls: jax.Array | None) -> None:
        """Keeps the map (B, h, w, D) and class token (B, D) if block `index` is chosen."""
        if index in self.numbers:
            self._found[index] = (patches, cls)

    def features(
        self, *, image_hw: tuple[int, int], strides: Iterable[int]
    ) -> tuple[BlockFeatures, ...]:
        """Returns what was recorded, in the order of `numbers`.

        Args:
            image_hw: (H, W) of the images in px.
            strides: of the fusion's maps in px, tried first as the tokens' stride.

        Raises:
            UserError: a block whose tokens are not the cells of one grid over the image.
        """
        return tuple(
            self._block(number, image_hw=image_hw, strides=tuple(strides))
            for number in self.numbers
        )

    def _block(self, number, *, image_hw, strides) -> BlockFeatures:
        if number in self._found:
            patches, cls = self._found[number]
            for stride in (*sorted(strides), *range(1, _LARGEST_STRIDE + 1)):
                if grid_of(image_hw, stride) == hw_of(patches):
                    return BlockFeatures(map=patches, cls=cls, stride=stride)
        raise UserError(
            f"head: taps: the tokens after block {number} of this fusion's ViT are not the "
            f"cells of one grid over the image. Set taps=() and read the fusion's maps by "
            f"strides=, or choose another fusion, such as sequential."
        )


_TAPS: contextvars.ContextVar[Taps | None] = contextvars.ContextVar("taps", default=None)


@contextlib.contextmanager
def recording(numbers: tuple[int, ...]) -> Iterator[Taps]:
    """Records the blocks `numbers` of the ViT that runs inside the `with`."""
    taps = Taps(numbers)
    before = _TAPS.set(taps if numbers else None)
    try:
        yield taps
    finally:
        _TAPS.reset(before)


def current_taps() -> Taps | None:
    """Returns what the surrounding `recording` collects in; None outside of one."""
    return _TAPS.get()


def check_taps(backbone: Fusion, numbers: tuple[int, ...]) -> None:
    """Checks that a fusion's ViT has the blocks a head wants.

    Raises:
        UserError: the fusion has no ViT, or its ViT has fewer blocks.
    """
    if not numbers:
        return
    if "vit" not in backbone.parts:
        raise UserError(
            f"head: taps: expected a fusion with a ViT, got {type(backbone).__name__}. "
            f"Set taps=() and read the fusion's maps by strides=."
        )
    vit = getattr(backbone, "vit", None)
    assert vit is not None  # each part is an attribute
    depth = vit.spec.depth
    wrong = [number for number in numbers if not 0 <= number < depth]
    if wrong:
        raise UserError(
            f"head: taps: expected numbers of the ViT's {depth} blocks, 0 to {depth - 1}, "
            f"got {wrong[0]}."
        )
