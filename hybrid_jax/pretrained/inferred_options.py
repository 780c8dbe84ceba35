"""Options inferred from shapes: the fusion of a hybrid, the heads of a ViT."""

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.specs import VIT_SIZES, ResNetSpec


def wiring_of(resnet: ResNetSpec | None, patch_size: int) -> tuple[str, dict[str, int]]:
    """Returns the name and the options of the fusion of a serial hybrid.

    Args:
        resnet: the ResNet before the ViT, None for a plain ViT.
        patch_size: side of a patch in cells of the ViT's input.

    Raises:
        UserError: patches of more than one cell of a ResNet's last map.
    """
    if resnet is None:
        return "vit", {}
    if not resnet.blocks:
        return "conv_stem", dict(patch_size=patch_size)
    if patch_size != 1:
        raise UserError(
            f"the file embeds patches of {patch_size} cells of a ResNet's last map, which "
            f"this library does not have: the fusion 'sequential' embeds single cells, "
            f"'conv_stem' patches of the root's map."
        )
    return "sequential", dict(stride=2 ** (len(resnet.blocks) + 1))


def heads_of(width: int, hints: Hints, *, usual: bool = True, advice: str = "") -> int:
    """Returns the number of attention heads, which such a file does not contain.

    Args:
        width: width of the ViT.
        usual: whether all published ViTs of this width have the same number of heads.
        advice: further advice for the message of the error.

    Raises:
        UserError: a width without a usual number of heads, and no hint.
    """
    if hints.num_heads:
        return hints.num_heads
    known = {size["width"]: size["num_heads"] for size in VIT_SIZES.values()}
    if usual and width in known:
        return known[width]
    raise UserError(
        f"the file does not contain the number of attention heads its ViT of width {width} "
        f"has. Pass it: load_pretrained(..., num_heads=...){advice}."
    )
