"""From what was seen inside a model to an `Explanation`, and what its fusion has not."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.explaining.explanation import CellMap, Explanation, LayerAttention
from hybrid_jax.explaining.methods.attention_distance import attention_distance
from hybrid_jax.explaining.methods.attention_maps import (
    distinct_names,
    heads_on_image,
    rollout_on_image,
)
from hybrid_jax.explaining.methods.grad_cam import grad_cam
from hybrid_jax.explaining.methods.level_energy import level_energy
from hybrid_jax.explaining.methods.position_similarity import position_similarity
from hybrid_jax.explaining.observed_model import Seen
from hybrid_jax.explaining.token_layout import Layout, Layouts
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.models.layers.deformable import DeformableAttention
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT


class SeenModel:
    """What was seen inside one model, with what the model itself tells.

    Args:
        model: the model.
        seen: of one forward pass.
        image_hw: (H, W) of the images in px.

    Attributes:
        missing: a line for each thing that was asked for and that the fusion has not.
    """

    def __init__(self, model: Hybrid, seen: Seen, *, image_hw: tuple[int, int]):
        self._model = model
        resnet = getattr(model.backbone, "resnet", None)
        vit = getattr(model.backbone, "vit", None)
        self._resnet = resnet if isinstance(resnet, ResNet) else None
        self._vit = vit if isinstance(vit, ViT) else None
        self._seen, self._image_hw = seen, image_hw
        self._layouts = Layouts(model.backbone, image_hw, seen.blocks)
        # A head that reads maps trains no class token.
        self._has_cls = seen.reads_cls and model.head.task == "classification"
        self.missing: list[str] = []

    def explanation(
        self, gradients: Mapping[str, jax.Array], *, classes: jax.Array, scores: jax.Array
    ) -> Explanation:
        """Returns the explanation of classes (B,) with scores (B,).

        Args:
            gradients: of the scores' sum with respect to `Seen.maps`, by name.
        """
        levels = dict(maps=self._seen.read) | self._seen.pyramids
        return Explanation(
            classes=classes,
            scores=scores,
            cams=self._cams(gradients),
            reached={name: (g != 0).any() for name, g in gradients.items()},
            rollout=self._rollout(),
            attention=self._attention(),
            levels={name: level_energy(maps) for name, maps in levels.items()},
            position_similarity=self._positions(),
            image_hw=self._image_hw,
            missing=tuple(self.missing),
        )

    def _cams(self, gradients: Mapping[str, jax.Array]) -> dict[str, CellMap]:
        """Returns Grad-CAM of the ResNet, from fine to coarse, and of the tokens."""
        cams, features = {}, self._seen.maps
        if self._resnet is None:
            self.missing.append("Grad-CAM of a ResNet: the fusion has no ResNet.")
        elif not self._resnet.stages:
            cams["root"] = CellMap(grad_cam(features["root"], gradients["root"]), 4)
        else:
            for number, stage in enumerate(self._resnet.stages, start=1):
                name = f"stage{number}"
                heat = grad_cam(features[name], gradients[name])
                cams[name] = CellMap(heat, stage.stride)
        layout = self._tokens("Grad-CAM of tokens")
        if layout is not None:
            cells = slice(layout.prefix, None)
            tokens, gradient = features["tokens"], gradients["tokens"]
            heat = grad_cam(tokens[:, cells], gradient[:, cells])
            heat = jnp.pad(heat, ((0, 0), (layout.prefix, 0)))
            cams["tokens"] = CellMap(layout.to_map(heat), min(layout.strides))
        return cams

    def _tokens(self, wanted: str) -> Layout | None:
        """Returns the layout of the tokens that enter the ViT's last block."""
        if self._vit is None:
            self.missing.append(f"{wanted}: the fusion has no ViT.")
            return None
        layout = self._layouts.of(self._seen.blocks[-1][0])
        if layout is None:
            self.missing.append(f"{wanted}: the ViT's tokens are no cells of the image.")
        return layout

    def _rollout(self) -> CellMap | None:
        last = self._tokens("attention rollout")
        if last is None:
            return None
        counts = [count for count, _ in self._seen.blocks]
        layouts = [self._layouts.of(count) for count in counts]
        weights = [self._of_block(index, count) for index, count in enumerate(counts)]
        for index, (block, layout) in enumerate(zip(weights, layouts, strict=True)):
            if block is None or layout is None:
                self.missing.append(
                    f"attention rollout: block {index} of the ViT does not attend from all "
                    f"tokens to all tokens."
                )
                return None
        probes = [r for r in self._seen.attention if r.path == ("vit", "probe_pool")]
        return rollout_on_image(
            [block for block in weights if block is not None],
            [layout for layout in layouts if layout is not None],
            probe=probes[-1].weights if probes else None,
            has_cls=self._has_cls,
        )

    def _of_block(self, index: int, count: int) -> jax.Array | None:
        """Returns the weights (B, heads, N, N) of a block of the ViT."""
        batch = len(self._seen.maps["tokens"])
        for record in self._seen.attention:
            shape = record.weights.shape
            of_block = record.path[:3] == ("vit", "blocks", index)
            if of_block and (shape[0], *shape[2:]) == (batch, count, count):
                return record.weights
        return None

    def _attention(self) -> tuple[LayerAttention, ...]:
        """Returns where the heads of every layer look, and how far."""
        deformable = [
            module
            for path, module in nnx.iter_modules(self._model)
            if path[:1] == ("backbone",) and isinstance(module, DeformableAttention)
        ]
        if deformable:
            self.missing.append(
                f"attention maps: {len(deformable)} layers of deformable attention read a "
                f"few sampled points and have no weights over cells."
            )
        records = self._seen.attention
        if not records and not deformable:
            self.missing.append("attention maps: the fusion has no attention.")
        batch = len(next(iter(self._seen.read.values())))
        whole = [r for r in records if len(r.weights) == batch]
        if len(whole) < len(records):
            self.missing.append(
                f"attention maps: {len(records) - len(whole)} layers attend inside windows."
            )
        layers = zip(distinct_names(whole), whole, strict=True)
        found = [self._layer(name, record.weights) for name, record in layers]
        return tuple(layer for layer in found if layer is not None)

    def _layer(self, name: str, weights: jax.Array) -> LayerAttention | None:
        """Returns one layer's attention; None if its keys are no cells."""
        heads = heads_on_image(weights, self._layouts, has_cls=self._has_cls)
        if heads is None:
            return None
        queries, keys = map(self._layouts.of, weights.shape[2:])
        distances = None
        if queries is not None and keys is not None:
            distances = attention_distance(weights, queries=queries, keys=keys)
        return LayerAttention(heads, distances, name)

    def _positions(self) -> jax.Array | None:
        if self._vit is None:
            self.missing.append("position similarity: the fusion has no ViT.")
        elif self._vit.position is None:
            kind = self._vit.spec.positions
            reason = "has none" if kind == "learned" else f"computes its own ({kind})"
            self.missing.append(
                f"position similarity: the ViT learns no positions, it {reason}."
            )
        else:
            return position_similarity(self._vit.position[...])
        return None
