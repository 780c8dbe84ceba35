"""What a model looked at: the result of `hybrid_jax.explain`."""

from typing import Any

import jax
import numpy as np
from flax import struct

Array = Any  # of jax inside a program, of numpy in what users get


@struct.dataclass
class CellMap:
    """A map over the image.

    Attributes:
        values: (B, ..., h, w) float32.
        stride: px per cell.
    """

    values: Array
    stride: int = struct.field(pytree_node=False)

    def on_image(self, image_hw: tuple[int, int]) -> np.ndarray:
        """Returns (B, ..., H, W), interpolated between the centers of the cells."""
        *lead, h, w = self.values.shape
        size = (*lead, h * self.stride, w * self.stride)
        grown = jax.image.resize(self.values, size, "linear")
        return np.asarray(grown[..., : image_hw[0], : image_hw[1]])


@struct.dataclass
class LayerAttention:
    """What the heads of one attention layer do.

    Attributes:
        heads: what every head reads of each cell, (B, heads, h, w): of the class token
            where it is read, else the mean over all queries. A map sums to at most 1.
        distances_px: mean attention distance of every head, (B, heads); None if its
            queries are no cells.
        path: of the layer in the backbone.
    """

    heads: CellMap
    distances_px: Array | None
    path: str = struct.field(pytree_node=False)


@struct.dataclass
class Explanation:
    """What a model looked at in B images.

    Attributes:
        classes: (B,) int32, the class that is explained.
        scores: (B,) float32, its score before softmax or sigmoid.
        cams: Grad-CAM by name, (B, h, w) not scaled: `stage1` to `stage4` of the ResNet,
            `root` of one without stages, and `tokens`, those that enter the last block of
            the ViT (after it, a class token reads no patch any more).
        reached: name -> () bool, whether the class depends on the map at all. The coarsest
            stages of some fusions do not reach a head that reads one vector.
        rollout: attention rollout over the ViT's first tokens, (B, h, w), or None.
        attention: of every attention layer of the backbone, in the order of the pass.
        levels: root mean square over the channels of each cell, (B, h, w): of the `maps`
            that the head gets and of every FPN, by path; {stride: values}.
        position_similarity: (h, w, h, w) cosines of the learned positions, or None.
        image_hw: (H, W) in px of the model's input.
        missing: a line for each kind above that the fusion has not, and why.
    """

    classes: Array
    scores: Array
    cams: dict[str, CellMap]
    reached: dict[str, Array]
    rollout: CellMap | None
    attention: tuple[LayerAttention, ...]
    levels: dict[str, dict[int, Array]]
    position_similarity: Array | None
    image_hw: tuple[int, int] = struct.field(pytree_node=False)
    missing: tuple[str, ...] = struct.field(pytree_node=False)

    @property
    def resnet_view(self) -> str | None:
        """Name of the ResNet's coarsest map that the class depends on."""
        names = [name for name in self.cams if name != "tokens"]
        reached = [name for name in names if self.reached[name]]
        return (reached or names or [None])[-1]

    def view_names(self) -> dict[str, str]:
        """Returns what the views of `views` are, such as "Grad-CAM, stage3"."""
        names = {}
        if self.resnet_view is not None:
            names["resnet"] = f"Grad-CAM, {self.resnet_view}"
        if self.rollout is not None:
            names["transformer"] = "attention rollout"
        elif "tokens" in self.cams:
            names["transformer"] = "Grad-CAM, tokens"
        elif self.attention:
            names["transformer"] = f"attention, {self.attention[-1].path}"
        if len(names) == 2:
            names["fused"] = "mean of both"
        return names

    def views(self) -> dict[str, np.ndarray]:
        """Returns what each half looks at, (B, H, W) float32, not negative.

        `resnet` is Grad-CAM at the ResNet's coarsest map that the class depends on.
        `transformer` is the rollout, else Grad-CAM at the tokens, else the last attention
        as the mean of its heads. `fused` is the mean of the two, each scaled to a sum of
        1. A fusion that has only one half has only that view.
        """
        found: dict[str, np.ndarray] = {}
        if self.resnet_view is not None:
            found["resnet"] = self.cams[self.resnet_view].on_image(self.image_hw)
        attention = self._attention_view()
        if attention is not None:
            found["transformer"] = attention.on_image(self.image_hw)
        if len(found) == 2:
            first, second = map(_summing_to_1, found.values())
            found["fused"] = (first + second) / 2
        return found

    def _attention_view(self) -> CellMap | None:
        if self.rollout is not None:
            return self.rollout
        if "tokens" in self.cams:
            return self.cams["tokens"]
        if not self.attention:
            return None
        heads = self.attention[-1].heads
        return CellMap(heads.values.mean(1), heads.stride)


def _summing_to_1(heat: np.ndarray) -> np.ndarray:
    total = heat.sum((1, 2), keepdims=True)
    return np.divide(heat, total, out=np.zeros_like(heat), where=total > 0)
