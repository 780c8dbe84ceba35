"""A whole model: one fusion as backbone, one head on its features, and what is between."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from hybrid_jax import config as configuration
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.pyramid_adapter import PyramidAdapter
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.layers.replaced import with_quick_counts
from hybrid_jax.models.options import check_options
from hybrid_jax.models.vit.taps import check_taps, recording
from hybrid_jax.ops.attention.dot_product import attention_kernel
from hybrid_jax.ops.padding_mask import rectangle_mask
from hybrid_jax.outputs import Outputs
from hybrid_jax.specs import MODELS, ResNetSpec, ViTSpec, resnet_spec, vit_spec


class Hybrid(nnx.Module):
    """`head(backbone(images))`; parameters live under `backbone.…` and `head.…`.

    Where the head wants strides that the fusion does not give, `pyramid.…` makes them.
    `attention` names the kernel of all attention inside, see `ops.attention.KERNELS`.

    Attributes:
        is_folded: changed for inference alone, see `models/layers/folding.py`.
    """

    def __init__(
        self, backbone: nnx.Module, head: nnx.Module, *, pyramid=None, attention="auto"
    ):
        self.backbone = backbone
        self.pyramid = pyramid
        self.head = head
        self.attention = attention
        self.is_folded = False

    def fold_in_place(self) -> None:
        """Notes that everything inside has been folded."""
        self.is_folded = True

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        content_yxyx_px: jax.Array | None = None,
        targets: Mapping[str, jax.Array] | None = None,
    ) -> Outputs:
        """Maps normalized images (B, H, W, 3) to the head's outputs.

        Args:
            train: batch statistics and random drops on.
            key: for the random drops; without one there are none.
            content_yxyx_px: (B, 4), the part of each image that is no padding: top, left,
                bottom, right; None if all is.
            targets: a training batch, for heads that learn from noised targets too.

        Raises:
            UserError: `train` is on in a folded model.
        """
        if train and self.is_folded:
            raise UserError(
                "model: train: expected False, got True: it is folded for inference, and "
                "its arrays are not those that training continues from. Load it again "
                "without folding: load_trained(..., folded=False)."
            )
        with attention_kernel(self.attention):
            return self._outputs(
                images,
                train=train,
                key=key,
                content_yxyx_px=content_yxyx_px,
                targets=targets,
            )

    def _outputs(self, images, *, train, key, content_yxyx_px, targets) -> Outputs:
        keys = (None, None) if key is None else jax.random.split(key)
        features = self.features(images, train=train, key=keys[0])
        features = features.replace(image_hw=images.shape[1:3])
        if content_yxyx_px is not None:
            mask = rectangle_mask(content_yxyx_px, hw=images.shape[1:3])
            features = features.replace(mask=mask)
        reads_targets = getattr(self.head, "reads_targets", False)
        more = dict(targets=targets) if reads_targets and train else {}
        return self.head(features, train=train, key=keys[1], **more)

    def features(
        self, images: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps images (B, H, W, 3) to what the head reads, missing strides made."""
        hw = images.shape[1:3]
        with recording(getattr(self.head, "taps", ())) as taps:
            features = self.backbone(images, train=train, key=key)
        blocks = taps.features(image_hw=hw, strides=self.backbone.channels)
        features = features.replace(intermediates=blocks)
        if self.pyramid is None:
            return features
        return features.replace(maps=self.pyramid(features.maps, image_hw=hw, train=train))


def build_model(
    model: Mapping[str, Any],
    *,
    num_classes: int,
    image_size: tuple[int, int],
    rngs: nnx.Rngs,
) -> Hybrid:
    """Builds what `config.model` describes, with random weights.

    Args:
        model: the `model` branch of a config, `dtype` resolved.
        num_classes: K of the head.
        image_size: (H, W) in px that learned positions are made for.

    Raises:
        UserError: unknown names or options, a head of maps without strides, or an image
            the model cannot take.
    """
    backbone = build_fusion(
        model["fusion"],
        *part_specs(model),
        image_size=image_size,
        rngs=rngs,
        **model["fusion_options"].get(model["fusion"], {}),
    )
    entry = HEADS.get(model["head"])
    options = model["head_options"].get(model["head"], {})
    check_options(f"head {model['head']!r}", entry, options)
    wanted = tuple(options.get("strides", entry.strides))
    # Taps of a ViT can stand in for maps.
    if "strides" in options and not wanted and not options.get("taps"):
        raise UserError(f"head {model['head']!r}: strides: expected one or more, got none.")
    pyramid, channels = None, backbone.channels
    if not set(wanted) <= set(channels):
        pyramid = PyramidAdapter(channels, wanted=wanted, dtype=model["dtype"], rngs=rngs)
        channels = pyramid.channels
    head = entry(
        channels,
        width=backbone.width,
        num_classes=num_classes,
        dtype=model["dtype"],
        rngs=rngs,
        **options,
    )
    check_taps(backbone, getattr(head, "taps", ()))
    return Hybrid(backbone, head, pyramid=pyramid, attention=model["attention"])


def build_fusion(
    name: str,
    resnet: ResNetSpec,
    vit: ViTSpec,
    *,
    image_size: tuple[int, int],
    rngs: nnx.Rngs,
    **options: Any,
) -> nnx.Module:
    """Builds one entry of the fusion registry.

    Raises:
        UserError: unknown fusion or option, or an image smaller than one coarsest cell.
    """
    fusion = FUSIONS.get(name)
    check_options(f"fusion {name!r}", fusion, options)
    rngs = with_quick_counts(rngs)
    backbone = fusion(resnet, vit, image_size=image_size, rngs=rngs, **options)
    coarsest = max(backbone.channels)
    if min(image_size) < coarsest:
        raise UserError(
            f"fusion {name!r}: image size {image_size[0]}x{image_size[1]} px is smaller "
            f"than one cell of its coarsest map ({coarsest} px). Set data.image_size to "
            f"{coarsest} or more, or choose a finer stride."
        )
    return backbone


def part_specs(model: Mapping[str, Any]) -> tuple[ResNetSpec, ViTSpec]:
    """Returns both parts' specs: size table first, then the options that are not None."""

    def chosen(options):
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if value is not None
        }

    dtype = model["dtype"]
    return (
        resnet_spec(model["resnet"], **chosen(model["resnet_options"]), dtype=dtype),
        vit_spec(model["vit"], **chosen(model["vit_options"]), dtype=dtype),
    )


def create_model(
    name: str,
    *,
    num_classes: int,
    image_size: int | tuple[int, int] = 224,
    dtype: str = "float32",
    seed: int = 0,
    **overrides: Any,
) -> Hybrid:
    """Builds a named model with random weights.

    Args:
        name: one of `list_models()`.
        num_classes: K of the head.
        image_size: side or (height, width) in px that learned positions are made for;
            the model takes any other size too.
        dtype: compute dtype, "float32" or "bfloat16".
        seed: of the random weights.
        overrides: keys of `config.model`, e.g. `fusion="conv_stem"` or
            `vit_options=dict(drop_path=0.1)`.

    Raises:
        UserError: unknown name, key or value.
    """
    model = configuration.defaults(name).model
    configuration.override_model(model, overrides, where="create_model")
    model.dtype = dtype
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    return build_model(
        model, num_classes=num_classes, image_size=size, rngs=nnx.Rngs(params=seed)
    )


def list_models() -> tuple[str, ...]:
    """Returns the names `create_model` knows."""
    return tuple(MODELS)


def list_fusions() -> tuple[str, ...]:
    """Returns the names of all wirings."""
    return FUSIONS.names()


def list_heads() -> tuple[str, ...]:
    """Returns the names of all heads."""
    return HEADS.names()
