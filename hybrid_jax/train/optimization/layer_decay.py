"""How far from the top of the network every parameter sits: one table, from its path.

Layer-wise learning-rate decay (ELECTRA, 2020; BEiT, 2021; MAE, 2021) trains a parameter
at rate * layer_decay ** layer, so that what was learnt first changes least:

    layer             parameters
    0                 head; the ViT's last norm and its pooling probe; all that a fusion
                      adds to the two parts, which is as new as the head
    1 ... L           blocks of a ViT of depth L, the last one first
    L + 1             the ViT's embedding, positions, class token and registers
    B + 1 ... B + S   stages of a ResNet of S stages, the last one first
    B + S + 1         the ResNet's root block

B is L + 1 where the ViT stands on the ResNet, which is where its embedding reads a map
(`sequential`, `conv_stem`, `fpn_tokens`, `rtdetr_encoder`, `stage_swap`), and 0 where the
ResNet has no ViT above it or one at its side (`conformer`, `late_concat`, the adapters):
there each part is counted from its own top.
"""

import dataclasses
from collections.abc import Mapping

_IMAGE_CHANNELS = 3
_TOP_OF_VIT = ("norm", "probe_pool")


@dataclasses.dataclass(frozen=True)
class Height:
    """What the table is filled with for one model.

    Attributes:
        blocks: L, of the ViT.
        stages: S, of the ResNet.
        stacked: whether the ViT stands on the ResNet.
    """

    blocks: int
    stages: int
    stacked: bool


def height_of(shapes: Mapping[str, tuple[int, ...]]) -> Height:
    """Counts the layers of a model from the paths and shapes of all its parameters."""
    embed = shapes.get("backbone/vit/embed/kernel")  # (p, p, C, D)
    return Height(
        blocks=_count(shapes, "backbone/vit/blocks/"),
        stages=_count(shapes, "backbone/resnet/stages/"),
        stacked=embed is not None and embed[2] != _IMAGE_CHANNELS,
    )


def layer_of(path: str, height: Height) -> int:
    """Returns a parameter's layer, 0 at the top, by the table of this module.

    Args:
        path: such as `backbone/vit/blocks/0/attn/qkv/kernel`.
        height: of the model the parameter belongs to.
    """
    below = height.blocks + 1 if height.stacked else 0
    match path.split("/"):
        case ["backbone", "vit", "blocks", index, *_]:
            return height.blocks - int(index)
        case ["backbone", "vit", name, *_] if name not in _TOP_OF_VIT:
            return height.blocks + 1
        case ["backbone", "resnet", "stages", index, *_]:
            return below + height.stages - int(index)
        case ["backbone", "resnet", *_]:
            return below + height.stages + 1
    return 0


def _count(paths: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """Returns how many numbers follow a prefix, as in `prefix0/...`."""
    starting = (path for path in paths if path.startswith(prefix))
    return len({path.removeprefix(prefix).split("/")[0] for path in starting})
