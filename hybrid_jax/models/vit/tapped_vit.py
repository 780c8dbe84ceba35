"""Running a ViT and collecting the tokens after some of its blocks."""

import jax

from hybrid_jax.contracts import BlockFeatures
from hybrid_jax.errors import UserError
from hybrid_jax.models.vit.vit import ViT


def run_vit(
    vit: ViT,
    x: jax.Array,
    *,
    taps: tuple[int, ...],
    stride: int,
    train: bool,
    key: jax.Array | None,
) -> tuple[jax.Array, jax.Array, tuple[BlockFeatures, ...]]:
    """Returns the outputs of a ViT and the tokens after the blocks with indices `taps`.

    Args:
        x: (B, H, W, C), the input of the ViT.
        taps: indices of blocks, from 0, in any order.
        stride: px per token.

    Returns:
        The final map (B, h, w, D), the pooled vector (B, D), and the features after the
        blocks, in the order of `taps`.

    Raises:
        UserError: an index out of range.
    """
    if not taps:
        return *vit(x, train=train, key=key), ()
    depth = vit.spec.depth
    wrong = [tap for tap in taps if not 0 <= tap < depth]
    if wrong:
        raise UserError(
            f"head: taps: expected indices of the ViT's {depth} blocks, 0 to {depth - 1}, "
            f"got {wrong[0]}."
        )
    key = key if train else None
    tokens, hw = vit.embed_map(x, key=key)
    has_cls, left = vit.spec.pool == "cls", {}
    for index in range(depth):
        tokens = vit.run_block(index, tokens, hw=hw, key=key)
        if index in taps:
            left[index] = BlockFeatures(
                map=vit.to_map(tokens, hw=hw),
                cls=tokens[:, 0] if has_cls else None,
                stride=stride,
            )
    tokens = vit.norm(tokens)
    pooled = vit.pool_tokens(tokens)
    return vit.to_map(tokens, hw=hw), pooled, tuple(left[tap] for tap in taps)
