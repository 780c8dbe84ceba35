"""`timm_hybrid_bn`: timm's ResNet-D + ViT with BatchNorm, such as `vit_base_resnet50d_224`.

The ResNet is under `patch_embed.backbone.`, with the names of a plain ResNet; the `s16`
models have no fourth stage.
"""

import dataclasses

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.names import timm
from hybrid_jax.pretrained.names import timm_resnet as names

_BACKBONE = "patch_embed.backbone."


@DIALECTS.register("timm_hybrid_bn")
class TimmHybridBN:
    """Hybrids whose ResNet has BatchNorm."""

    name = "timm_hybrid_bn"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has a ResNet with BatchNorm in its patch embedding."""
        prefix = timm.prefix_of(stored)
        return prefix is not None and f"{prefix}{_BACKBONE}bn1.weight" in stored

    def tidy(self, stored: Stored) -> Stored:
        """Removes the prefix of wrapped models and the batch counters of BatchNorm."""
        return names.without_counters(timm.tidied(stored))

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; other architectures raise an error."""
        resnet = names.resnet_of(stored, prefix=_BACKBONE)
        vit = timm.vit_of(stored, _with_heads(stored, hints))
        if vit.patch_size != 1:
            raise UserError(
                f"the file embeds patches of {vit.patch_size} cells of a ResNet's last "
                f"map; 'sequential' embeds single cells."
            )
        grid, cls_position = timm.positions_of(stored, vit, hints)
        stride = 2 ** (len(resnet.blocks) + 1)
        architecture = Architecture(
            fusion="sequential",
            options=dict(stride=stride),
            resnet=resnet,
            vit=vit,
            grid=grid,
            cls_position=cls_position,
            num_classes=timm.classes_of(stored),
            head_options=timm.head_options(stored),
            preprocessing=Preprocessing(
                normalization="imagenet", eval_crop=0.9, certain=False
            ),
        )
        timm.check_keys(stored, self.entries(architecture))
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a hybrid."""
        entries = names.resnet_entries(architecture.given_resnet, prefix=_BACKBONE)
        return entries + timm.vit_entries(architecture)


def _with_heads(stored: Stored, hints: Hints) -> Hints:
    """Returns the hints, with the number of heads of `vit_small_resnet*` filled in.

    These models have width 768, 8 blocks of 8 heads and an MLP of three times the width,
    unlike all other published models.
    """
    shape = getattr(stored.get("blocks.0.mlp.fc1.weight"), "shape", None)
    small = shape == (2304, 768) and "blocks.8.norm1.weight" not in stored
    return dataclasses.replace(hints, num_heads=hints.num_heads or (8 if small else None))
