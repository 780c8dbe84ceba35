"""`timm_hybrid`: timm's ResNet + ViT hybrids with GroupNorm, such as `vit_small_r26_s32`.

The ResNet is under `patch_embed.backbone.`, its stages under `stages.{s}.blocks.{u}.`,
counted from zero; `vit_tiny_r_s16_p8` has only the root, without the prefix `stem.`.
Kernels are not standardized. R26+S/32 has 239 arrays.
"""

import re

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.codecs import CONV_OIHW
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
    entry,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.inferred_options import wiring_of
from hybrid_jax.pretrained.names import timm as names
from hybrid_jax.specs import ResNetSpec

_BACKBONE = "patch_embed.backbone."
_ROOTS = ("stem.", "")


@DIALECTS.register("timm_hybrid")
class TimmHybrid:
    """Hybrids of AugReg (2021), of the ViT paper (2020) and similar ones."""

    name = "timm_hybrid"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has a ResNet with GroupNorm in its patch embedding."""
        prefix = names.prefix_of(stored)
        return prefix is not None and any(
            f"{prefix}{_BACKBONE}{root}conv.weight" in stored for root in _ROOTS
        )

    def tidy(self, stored: Stored) -> Stored:
        """Removes the prefix of wrapped models."""
        return names.tidied(stored)

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; unknown variants raise an error."""
        vit = names.vit_of(stored, hints)
        resnet = _resnet_of(stored)
        fusion, options = wiring_of(resnet, vit.patch_size)
        grid, cls_position = names.positions_of(stored, vit, hints)
        # All published ones take images in [-1, 1]; the crop depends on the image size.
        stride = options.get("stride") or 4 * options["patch_size"]
        architecture = Architecture(
            fusion=fusion,
            options=options,
            resnet=resnet,
            vit=vit,
            grid=grid,
            cls_position=cls_position,
            num_classes=names.classes_of(stored),
            head_options=names.head_options(stored),
            preprocessing=Preprocessing(
                normalization="half",
                eval_crop=1.0 if grid[0] * stride >= 384 else 0.9,
                certain=False,
            ),
        )
        names.check_keys(stored, self.entries(architecture))
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a model."""
        return _resnet_entries(architecture.given_resnet) + names.vit_entries(architecture)


def _resnet_of(stored: Stored) -> ResNetSpec:
    root = next(r for r in _ROOTS if f"{_BACKBONE}{r}conv.weight" in stored)
    units = {
        (int(m.group(1)), int(m.group(2)))
        for key in stored
        if (m := re.match(rf"{_BACKBONE}stages\.(\d+)\.blocks\.(\d+)\.", key))
    }
    stages = sorted({stage for stage, _ in units})
    if bool(stages) != (root == "stem.") or stages != list(range(len(stages))):
        raise UserError(
            f"expected consecutive stages of a ResNet under {_BACKBONE!r}, got {stages}. "
            f"Use a file of a complete model."
        )
    return ResNetSpec(
        blocks=tuple(sum(s == stage for s, _ in units) for stage in stages),
        width=stored[f"{_BACKBONE}{root}conv.weight"].shape[0],
        numerics="timm",
    )


def _resnet_entries(spec: ResNetSpec) -> list[Entry]:
    root = _BACKBONE + ("stem." if spec.blocks else "")
    entries = _conv_norm("resnet/stem", "", theirs=root)
    for stage, count in enumerate(spec.blocks):
        for unit in range(count):
            ours = f"resnet/stages/{stage}/blocks/{unit}"
            theirs = f"{_BACKBONE}stages.{stage}.blocks.{unit}."
            for n in "123":
                entries += _conv_norm(ours, n, theirs=theirs)
            if unit == 0:
                downsample = f"{theirs}downsample."
                entries += _conv_norm(f"{ours}/downsample", "", theirs=downsample)
    return entries


def _conv_norm(ours: str, n: str, *, theirs: str) -> list[Entry]:
    """Returns the entries of the n-th convolution of a block and its norm."""
    conv = entry(f"{ours}/conv{n}/kernel", f"{theirs}conv{n}.weight", CONV_OIHW)
    return [conv, *names.norm(f"{ours}/norm{n}", f"{theirs}norm{n}")]
