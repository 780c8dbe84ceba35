"""Specs of the ResNet and the ViT: sizes and numerics, as frozen dataclasses.

A spec determines one ResNet or one ViT completely, including its numerics (epsilons, GELU).
`models` builds modules from specs.
"""

import dataclasses
from typing import Any, Literal

from hybrid_jax.errors import UserError, nearest

Dtype = Literal["float32", "bfloat16"]
"""A compute dtype."""

PositionResize = Literal["corner_linear", "bilinear", "bicubic_aa"]
"""Interpolation of a learned position grid, see `resize_grid`."""

REMAT = ("none", "dots", "full")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetSpec:
    """One ResNet.

    Attributes:
        blocks: number of residual blocks of each stage; empty for the root block only.
        width: channels of the root; stage i has 3x3 convolutions of width * 2**i channels
            and outputs of 4 times as many.
        norm: "group" is StdConv + GroupNorm(32), as in the published hybrids (ViT, 2020);
            "batch" is Conv + BatchNorm, v1.5 as in torchvision.
        numerics: epsilons of StdConv and of GroupNorm. "timm": 1e-8 added to the variance,
            and 1e-5. "vit_jax" (Google): 1e-5 added to the standard deviation, and 1e-6;
            with pre-activation (BiT) 1e-10 added to the variance, and 1e-5.
        preactivation: norm and ReLU before each convolution (He et al., 2016), as in BiT
            (Kolesnikov et al., 2019); only the last of the returned maps is normed.
        root: "7x7" (one convolution) or "deep" (three 3x3 convolutions; ResNet-C and -D,
            He et al., 2018).
        shortcut: downsampling in the shortcut: "strided" (1x1 convolution with stride 2) or
            "pooled" (2x2 average pooling, then 1x1 convolution; ResNet-D).
        output_stride: the coarsest stride; later stages use dilation instead of stride.
        remat: what the backward pass of a block recomputes to save memory: "none", "dots"
            (all but convolutions) or "full" (everything). Blocks that a fusion runs in
            steps (all of `conformer`, those with attention of `botnet`) ignore it.
        dtype: compute dtype; parameters are float32.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    norm: Literal["group", "batch"] = "group"
    numerics: Literal["vit_jax", "timm"] = "vit_jax"
    preactivation: bool = False
    root: Literal["7x7", "deep"] = "7x7"
    shortcut: Literal["strided", "pooled"] = "strided"
    output_stride: Literal[4, 8, 16, 32] = 32
    remat: Literal["none", "dots", "full"] = "none"
    dtype: Dtype = "float32"

    def __post_init__(self):
        _check_choices(self, norm=("group", "batch"), numerics=("vit_jax", "timm"))
        _check_choices(self, output_stride=(4, 8, 16, 32), preactivation=(False, True))
        _check_choices(self, root=("7x7", "deep"), shortcut=("strided", "pooled"))
        _check_choices(self, remat=REMAT)
        _check_choices(self, dtype=("float32", "bfloat16"))
        if len(self.blocks) > 4 or any(n < 1 for n in self.blocks):
            raise UserError(
                f"ResNetSpec.blocks: expected at most 4 stages of 1 or more blocks, "
                f"got {self.blocks}."
            )
        if self.preactivation and self.norm == "batch":
            raise UserError(
                "ResNetSpec.preactivation: expected norm='group' with pre-activation, got "
                "norm='batch'. Set one of them to its default."
            )
        multiple = 64 if self.root == "deep" else 32
        if self.norm == "group" and self.width % multiple:
            half = " (a deep root starts with half the width)" if multiple == 64 else ""
            raise UserError(
                f"ResNetSpec.width: expected a multiple of {multiple} for GroupNorm with "
                f"32 groups{half}, got {self.width}. Choose {multiple}, {2 * multiple}, "
                f"... or norm='batch'."
            )
        if self.width % 2 and self.root == "deep":
            raise UserError(
                f"ResNetSpec.width: expected an even number for a deep root, which starts "
                f"with half the width, got {self.width}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTSpec:
    """One Vision Transformer.

    Attributes:
        width: D, the embedding width.
        depth: number of blocks.
        num_heads: attention heads; a divisor of `width`.
        mlp_dim: hidden width of the MLP.
        patch_size: side of a patch in px; fusions that give the ViT a feature map use
            another one.
        pool: "cls" (class token), "mean" (of the patch tokens) or "attention" (attention
            pooling with a learned query, the MAP head of big_vision).
        positions: "learned" grid, fixed "sincos2d", or rotary "rope2d" inside attention.
        position_resize: interpolation of a learned grid to another grid, see `resize_grid`.
        drop_path: stochastic depth rate of the last block; rates increase linearly from 0.
        dropout: rate after the embedding and inside the MLP.
        layer_scale: initial value of LayerScale; 0.0 for none.
        num_register_tokens: learned extra tokens without positions (Darcet et al., 2023).
        gelu: "tanh" as in vit_jax, "erf" as in timm.
        norm_eps: epsilon of every LayerNorm.
        remat: what the backward pass of a block recomputes to save memory: "none", "dots"
            (all but products with kernels) or "full" (everything).
        block_loop: "unrolled" (each block is compiled for itself) or "scan" (consecutive
            blocks are compiled once, as a loop). States and files are the same.
        dtype: compute dtype; parameters are float32.
    """

    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    patch_size: int = 16
    pool: Literal["cls", "mean", "attention"] = "cls"
    positions: Literal["learned", "sincos2d", "rope2d"] = "learned"
    position_resize: PositionResize = "bilinear"
    drop_path: float = 0.0
    dropout: float = 0.0
    layer_scale: float = 0.0
    num_register_tokens: int = 0
    gelu: Literal["tanh", "erf"] = "tanh"
    norm_eps: float = 1e-6
    remat: Literal["none", "dots", "full"] = "none"
    block_loop: Literal["unrolled", "scan"] = "unrolled"
    dtype: Dtype = "float32"

    def __post_init__(self):
        _check_choices(self, block_loop=("unrolled", "scan"))
        _check_choices(self, pool=("cls", "mean", "attention"), gelu=("tanh", "erf"))
        _check_choices(self, positions=("learned", "sincos2d", "rope2d"), remat=REMAT)
        _check_choices(self, position_resize=("corner_linear", "bilinear", "bicubic_aa"))
        _check_choices(self, dtype=("float32", "bfloat16"))
        if self.width % self.num_heads:
            raise UserError(
                f"ViTSpec.num_heads: expected a divisor of width {self.width}, "
                f"got {self.num_heads}."
            )
        for field in ("drop_path", "dropout"):
            if not 0.0 <= getattr(self, field) < 1.0:
                raise UserError(
                    f"ViTSpec.{field}: expected a rate in [0, 1), "
                    f"got {getattr(self, field)}."
                )
        head_dim = self.width // self.num_heads
        if self.positions == "rope2d" and head_dim % 4:
            raise UserError(
                f"ViTSpec.positions: 'rope2d' needs a head width divisible by 4, got "
                f"width / num_heads = {self.width} / {self.num_heads} = {head_dim}."
            )
        if self.positions == "sincos2d" and self.width % 4:
            raise UserError(
                f"ViTSpec.positions: 'sincos2d' needs a width divisible by 4, got "
                f"{self.width}."
            )


# He et al. (2015); r26: AugReg (Steiner et al., 2021); r: only its root block.
RESNET_SIZES: dict[str, dict[str, Any]] = {
    "r": dict(blocks=()),
    "r26": dict(blocks=(2, 2, 2, 2)),
    "r50": dict(blocks=(3, 4, 6, 3)),
    "r101": dict(blocks=(3, 4, 23, 3)),
    "r152": dict(blocks=(3, 8, 36, 3)),
}

# Dosovitskiy et al. (2020) for b, l, h; Steiner et al. (2021) for ti, s.
VIT_SIZES: dict[str, dict[str, Any]] = {
    "ti": dict(width=192, depth=12, num_heads=3, mlp_dim=768),
    "s": dict(width=384, depth=12, num_heads=6, mlp_dim=1536),
    "b": dict(width=768, depth=12, num_heads=12, mlp_dim=3072),
    "l": dict(width=1024, depth=24, num_heads=16, mlp_dim=4096),
    "h": dict(width=1280, depth=32, num_heads=16, mlp_dim=5120),
}

# Named models, which `create_model` and the configs of the same name build. Published
# parameter counts and accuracies of the first five: Steiner et al. (2021), Dosovitskiy et
# al. (2020). The name R+Ti/16 is the published one; it has one token per 32 px.
MODELS: dict[str, dict[str, Any]] = {
    "r_vit_ti16": dict(
        fusion="conv_stem",
        resnet="r",
        vit="ti",
        fusion_options=dict(conv_stem=dict(patch_size=8)),
    ),
    "r26_vit_s32": dict(
        fusion="sequential",
        resnet="r26",
        vit="s",
        fusion_options=dict(sequential=dict(stride=32)),
    ),
    "r26_vit_b32": dict(
        fusion="sequential",
        resnet="r26",
        vit="b",
        fusion_options=dict(sequential=dict(stride=32)),
    ),
    "r50_vit_b16": dict(
        fusion="sequential",
        resnet="r50",
        vit="b",
        fusion_options=dict(sequential=dict(stride=16)),
    ),
    "r50_vit_l32": dict(
        fusion="sequential",
        resnet="r50",
        vit="l",
        fusion_options=dict(sequential=dict(stride=32)),
    ),
    "r26_vit_b16": dict(
        fusion="sequential",
        resnet="r26",
        vit="b",
        fusion_options=dict(sequential=dict(stride=16)),
    ),
    "r26_vit_s16": dict(
        fusion="sequential",
        resnet="r26",
        vit="s",
        fusion_options=dict(sequential=dict(stride=16)),
    ),
    "vit_s16": dict(fusion="vit", vit="s"),
    "vit_b16": dict(fusion="vit", vit="b"),
    "vit_l16": dict(fusion="vit", vit="l"),
    "resnet50": dict(fusion="resnet", resnet="r50", resnet_options=dict(norm="batch")),
    "tiny": dict(
        fusion="sequential",
        resnet="r26",
        resnet_options=dict(blocks=(1, 2, 1), width=32),
        vit="ti",
        vit_options=dict(width=128, depth=2, num_heads=4, mlp_dim=512, pool="mean"),
        fusion_options=dict(sequential=dict(stride=16)),
    ),
}


def resnet_spec(size: str, **overrides: Any) -> ResNetSpec:
    """Returns the spec of a ResNet of this size, with the fields in `overrides` replaced.

    Raises:
        UserError: unknown size, unknown field, or a value out of range.
    """
    return _build(ResNetSpec, RESNET_SIZES, size, overrides)


def vit_spec(size: str, **overrides: Any) -> ViTSpec:
    """Returns the spec of a ViT of this size, with the fields in `overrides` replaced.

    Raises:
        UserError: unknown size, unknown field, or a value out of range.
    """
    return _build(ViTSpec, VIT_SIZES, size, overrides)


def _build(cls, sizes, size, overrides):
    if size not in sizes:
        raise UserError(
            f"unknown {cls.__name__} size {size!r}.{nearest(size, sizes)} "
            f"Known: {', '.join(sizes)}."
        )
    fields = [field.name for field in dataclasses.fields(cls)]
    for name in overrides:
        if name not in fields:
            raise UserError(
                f"{cls.__name__} has no field {name!r}.{nearest(name, fields)} "
                f"Fields: {', '.join(fields)}."
            )
    return cls(**(sizes[size] | overrides))


def _check_choices(spec, **choices):
    for name, allowed in choices.items():
        if getattr(spec, name) not in allowed:
            raise UserError(
                f"{type(spec).__name__}.{name}: expected one of "
                f"{', '.join(map(repr, allowed))}, got {getattr(spec, name)!r}."
            )
