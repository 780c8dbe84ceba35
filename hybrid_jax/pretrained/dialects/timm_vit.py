"""`timm_vit`: timm's plain ViTs: AugReg and MAE, DeiT, DeiT-III, DINOv2.

Keys such as `blocks.0.attn.qkv.weight`, with torch's order of axes. DeiT-III and DINOv2
have LayerScale (`blocks.0.ls1.gamma`), DINOv2 may have register tokens (`reg_token`). If
`pos_embed` has no row for the class token, its position is part of `cls_token`. ViT-B/16
has 152 arrays.
"""

from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.names import timm as names
from hybrid_jax.specs import ViTSpec


@DIALECTS.register("timm_vit")
class TimmViT:
    """ViTs on image patches."""

    name = "timm_vit"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has blocks and no ResNet in its patch embedding."""
        prefix = names.prefix_of(stored)
        return (
            prefix is not None
            and any(key.startswith(f"{prefix}blocks.0.") for key in stored)
            and not any(key.startswith(f"{prefix}patch_embed.backbone.") for key in stored)
        )

    def tidy(self, stored: Stored) -> Stored:
        """Removes the prefix of wrapped models."""
        return names.tidied(stored)

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; unknown variants raise an error."""
        vit = names.vit_of(stored, hints)
        grid, cls_position = names.positions_of(stored, vit, hints)
        architecture = Architecture(
            fusion="vit",
            vit=vit,
            grid=grid,
            cls_position=cls_position,
            num_classes=names.classes_of(stored),
            head_options=names.head_options(stored),
            preprocessing=_usual_images(vit, grid, cls_position=cls_position),
        )
        names.check_keys(stored, self.entries(architecture))
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a model."""
        return names.vit_entries(architecture)


def _usual_images(
    vit: ViTSpec, grid: tuple[int, int], *, cls_position: bool
) -> Preprocessing:
    """Returns the preprocessing of most files with these arrays.

    DeiT-III and DINOv2 are recognized by their LayerScale; DeiT has the same arrays as
    AugReg.
    """
    deit3 = not cls_position and not vit.num_register_tokens
    imagenet = bool(vit.layer_scale) and (deit3 or vit.patch_size == 14)
    return Preprocessing(
        normalization="imagenet" if imagenet else "half",
        eval_crop=1.0 if grid[0] * vit.patch_size >= 384 else 0.9,
        certain=False,
    )
