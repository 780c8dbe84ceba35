"""What files leave unsaid and shapes imply: the wiring of a hybrid, the heads of a ViT."""

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.specs import VIT_SIZES, ResNetSpec


def wiring_of(resnet: ResNetSpec | None, patch_size: int) -> tuple[str, dict[str, int]]:
    """Returns the fusion, and its options, that a serial hybrid was made by.

    Args:
        resnet: the ResNet in front of the ViT, None for a plain ViT.
        patch_size: cells of what the ViT embeds, per token and side.

    Raises:
        UserError: patches of a ResNet's last map, which no fusion embeds.
    """
    if resnet is None:
        return "vit", {}
    if not resnet.blocks:
        return "conv_stem", dict(patch_size=patch_size)
    if patch_size != 1:
        raise UserError(
            f"the file embeds patches of {patch_size} cells of a ResNet's last map; "
            f"'sequential' embeds single cells, 'conv_stem' patches of the root's map."
        )
    return "sequential", dict(stride=2 ** (len(resnet.blocks) + 1))


def heads_of(width: int, hints: Hints, *, usual: bool = True, advice: str = "") -> int:
    """Returns the attention heads of a file with one matrix for all of them.

    Args:
        width: of the ViT.
        usual: whether published ViTs of this width have one number of heads.
        advice: what else the caller of `load_pretrained` may have to say.

    Raises:
        UserError: a width no size table has, and no hint.
    """
    if hints.num_heads:
        return hints.num_heads
    known = {size["width"]: size["num_heads"] for size in VIT_SIZES.values()}
    if usual and width in known:
        return known[width]
    raise UserError(
        f"the file does not tell how many attention heads its ViT of width {width} has. "
        f"Say it: load_pretrained(..., num_heads=...){advice}."
    )
