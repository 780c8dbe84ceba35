"""A complete model: a fusion as backbone, a head, and a pyramid adapter between them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from hybrid_jax import config as configuration
from hybrid_jax.contracts import Features, Fusion, Head
from hybrid_jax.errors import UserError
from hybrid_jax.models.decoders.pyramid_adapter import PyramidAdapter
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.models.layers.replaced import with_quick_counts
from hybrid_jax.models.options import check_options
from hybrid_jax.models.part_answers import check_features, check_outputs, naming_strides
from hybrid_jax.models.vit.taps import check_taps, recording
from hybrid_jax.ops.attention.dot_product import attention_kernel
from hybrid_jax.ops.padding_mask import rectangle_mask
from hybrid_jax.outputs import Outputs
from hybrid_jax.specs import MODELS, ResNetSpec, ViTSpec, resnet_spec, vit_spec


class Hybrid(nnx.Module):
    """Returns `head(backbone(images))`; the parameters are in `backbone` and `head`.

    `pyramid` computes the strides that the head needs and the fusion does not return.
    `attention` is the kernel of all attention inside, one of `KERNELS` in
    `ops/attention/dot_product.py`.

    Attributes:
        is_folded: whether it was folded for inference, see `models/layers/folding.py`.
    """

    def __init__(
        self,
        backbone: Fusion,
        head: Head,
        *,
        pyramid: PyramidAdapter | None = None,
        attention: str = "auto",
    ):
        self.backbone = backbone
        self.pyramid = pyramid
        self.head = head
        self.attention = attention
        self.is_folded = False

    def fold_in_place(self) -> None:
        """Marks the model as folded."""
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
            train: switches batch statistics, dropout and drop path on.
            key: random key of dropout and drop path; None switches them off.
            content_yxyx_px: (B, 4), the part of each image that is not padding: top, left,
                bottom, right in px; None if there is no padding.
            targets: a training batch, for heads with denoising queries.

        Raises:
            UserError: `train` is True in a folded model.
        """
        if train and self.is_folded:
            raise UserError(
                "model: train: expected False in a model folded for inference, got True. "
                "Load the model again without folding: load_trained(..., folded=False)."
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
        features = dataclasses.replace(features, image_hw=hw_of(images))
        if content_yxyx_px is not None:
            mask = rectangle_mask(content_yxyx_px, hw=hw_of(images))
            features = dataclasses.replace(features, mask=mask)
        reads_targets = getattr(self.head, "reads_targets", False)
        more: dict[str, Any] = dict(targets=targets) if reads_targets and train else {}
        with naming_strides(
            type(self.head).__name__, declared=self.head.strides, given=features.maps
        ):
            outputs = self.head(features, train=train, key=keys[1], **more)
        check_outputs(self.head, outputs)
        return outputs

    def features(
        self, images: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Returns features of images (B, H, W, 3) at all strides that the head needs."""
        hw = hw_of(images)
        with recording(getattr(self.head, "taps", ())) as taps:
            features = self.backbone(images, train=train, key=key)
        check_features(self.backbone, features, images)
        blocks = taps.features(image_hw=hw, strides=self.backbone.channels)
        features = dataclasses.replace(features, intermediates=blocks)
        if self.pyramid is None:
            return features
        maps = self.pyramid(features.maps, image_hw=hw, train=train)
        return dataclasses.replace(features, maps=maps)


def build_model(
    model: Mapping[str, Any],
    *,
    num_classes: int,
    image_size: tuple[int, int],
    rngs: nnx.Rngs,
) -> Hybrid:
    """Builds the model that `config.model` describes, with random weights.

    Args:
        model: the `model` branch of a config, with `dtype` resolved.
        num_classes: K of the head.
        image_size: (H, W) in px of the learned position embeddings.

    Raises:
        UserError: unknown names or options, no strides for a head that reads maps, or an
            image smaller than one cell of the coarsest map.
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
    # With taps, a head needs no maps.
    if "strides" in options and not wanted and not options.get("taps"):
        raise UserError(f"head {model['head']!r}: strides: expected one or more, got none.")
    pyramid, channels = None, backbone.channels
    if not set(wanted) <= set(channels):
        pyramid = PyramidAdapter(channels, wanted=wanted, dtype=model["dtype"], rngs=rngs)
        channels = pyramid.channels
    with naming_strides(repr(model["head"]), declared=wanted, given=channels):
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
) -> Fusion:
    """Builds one entry of the fusion registry.

    Raises:
        UserError: unknown fusion or option, or an image smaller than one cell of the
            coarsest map.
    """
    fusion = FUSIONS.get(name)
    check_options(f"fusion {name!r}", fusion, options)
    rngs = with_quick_counts(rngs)
    backbone = fusion(resnet, vit, image_size=image_size, rngs=rngs, **options)
    coarsest = max(backbone.channels)
    if min(image_size) < coarsest:
        raise UserError(
            f"fusion {name!r}: image_size: expected {coarsest} px or more, the stride of "
            f"its coarsest map, got {image_size[0]}x{image_size[1]} px. Set "
            f"data.image_size to {coarsest} or more, or choose a finer stride."
        )
    return backbone


def part_specs(model: Mapping[str, Any]) -> tuple[ResNetSpec, ViTSpec]:
    """Returns the specs of both parts: their size, with the options that are not None."""

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
        image_size: side or (height, width) in px of the learned position embeddings; the
            model accepts images of any other size too.
        dtype: compute dtype, "float32" or "bfloat16".
        seed: seed of the random weights.
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
    """Returns the names that `create_model` accepts."""
    return tuple(MODELS)


def list_fusions() -> tuple[str, ...]:
    """Returns the names of all fusions."""
    return FUSIONS.names()


def list_heads() -> tuple[str, ...]:
    """Returns the names of all heads."""
    return HEADS.names()
