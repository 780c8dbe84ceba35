"""`botnet`: self-attention instead of the last 3x3 convolutions (Srinivas et al., 2021).

A replaced bottleneck of width d, n heads of d / n channels each:

    y = relu(norm(Conv1x1(x)))                      (B, h, w, d)
    q, k, v = Linear(y)                             (B, h, w, n, d / n) each
    r = R_rows[i' - i] + R_columns[j' - j]          one vector per offset, for all heads
    y = softmax(q.k / sqrt(d / n) + q.r) v          (B, h, w, d)
    y = relu(norm(mean of 2x2 cells of y))          where the 3x3 had stride 2
    x = relu(shortcut(x) + norm(Conv1x1(y)))        (B, h', w', 4d)

The tables R are initialized for the image size and interpolated for any other; in the paper
the size is fixed. A replaced block starts as its shortcut, like every bottleneck (the scale
of its last norm is zero). At initialization the features differ from those of a plain
ResNet.
"""

import jax
from flax import nnx
from jaxtyping import Float

from hybrid_jax.array_types import Array, Images, Map
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.options import check_has_stages
from hybrid_jax.models.resnet.resnet import Bottleneck, ResNet
from hybrid_jax.ops.attention.dot_product import attention
from hybrid_jax.ops.attention.relative_positions import relative_logits
from hybrid_jax.ops.rescale import average_pool
from hybrid_jax.specs import ResNetSpec, ViTSpec

_lecun_normal = nnx.initializers.lecun_normal()


class RelativeAttention(nnx.Module):
    """Self-attention over all cells of a map with relative positions.

    Args:
        spec: gives the dtype.
        channels: C of the input and of the output.
        grid: (h, w) of the tables of relative positions; they are resized to other grids.
        num_heads: attention heads; must divide `channels`.
        stride: 2 halves the map after attention.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        channels: int,
        *,
        grid: tuple[int, int],
        num_heads: int,
        stride: int,
        rngs: nnx.Rngs,
    ):
        # No biases: the norms before and after have them.
        self.qkv = Conv(
            channels,
            3 * channels,
            kernel=1,
            kernel_init=_lecun_normal,
            dtype=spec.dtype,
            rngs=rngs,
        )
        head_dim = channels // num_heads
        normal = nnx.initializers.normal(head_dim**-0.5)
        self.rows = nnx.Param(normal(rngs.params(), (2 * grid[0] - 1, head_dim)))
        self.columns = nnx.Param(normal(rngs.params(), (2 * grid[1] - 1, head_dim)))
        self.num_heads = num_heads
        self.stride = stride

    def __call__(
        self, x: Map
    ) -> Float[Array, "B -(-h//{self.stride}) -(-w//{self.stride}) C"]:
        """Maps (B, h, w, C) to (B, ceil(h / stride), ceil(w / stride), C)."""
        B, h, w, C = x.shape
        qkv = self.qkv(x).reshape(B, h, w, 3, self.num_heads, -1)
        query, key, value = qkv[:, :, :, 0], qkv[:, :, :, 1], qkv[:, :, :, 2]
        bias = relative_logits(query, self.rows[...], self.columns[...])
        query, key, value = (
            part.reshape(B, h * w, self.num_heads, -1) for part in (query, key, value)
        )
        y = attention(query, key, value, bias=bias).reshape(B, h, w, C)
        return average_pool(y, factor=self.stride)


@FUSIONS.register("botnet")
class BoTNet(nnx.Module):
    """A ResNet with attention in its last bottlenecks. The ViT spec is not used.

    Args:
        replaced: number of bottlenecks with attention at the end of each stage; all of
            them in a stage with fewer blocks.
        stages: number of stages with attention, counted from the last. Attention is over
            all cells: its cost is sixteen times as high in the next finer stage.
        num_heads: attention heads; must divide the width of these bottlenecks.
    """

    parts = ("resnet",)
    starts_as = None

    def __init__(
        self,
        resnet_spec: ResNetSpec,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
        replaced: int = 3,
        stages: int = 1,
        num_heads: int = 4,
    ):
        _check(resnet_spec, replaced=replaced, stages=stages, num_heads=num_heads)
        self.resnet = ResNet(resnet_spec, rngs=rngs)
        # Per stage, the number of its first block that attends.
        total = len(resnet_spec.blocks)
        self.first = tuple(
            max(count - replaced, 0) if index >= total - stages else count
            for index, count in enumerate(resnet_spec.blocks)
        )
        modules, stride = [], 4
        for stage, first in zip(self.resnet.stages, self.first, strict=True):
            for number, block in enumerate(stage.blocks):
                if number >= first:
                    modules.append(
                        RelativeAttention(
                            resnet_spec,
                            block.conv2.kernel.shape[-1],
                            grid=grid_of(image_size, stride),
                            num_heads=num_heads,
                            stride=block.conv2.stride,
                            rngs=rngs,
                        )
                    )
                    block.conv2 = None
                stride = stage.stride
        self.attention = nnx.List(modules)
        self.channels = self.resnet.channels
        self.width = self.channels[max(self.channels)]

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the maps C2 to C5 and the mean of C5."""
        x, maps, attentions = (
            self.resnet.stem(images, train=train),
            {},
            iter(self.attention),
        )
        for stage, first in zip(self.resnet.stages, self.first, strict=True):
            for number, block in enumerate(stage.blocks):
                if number < first:
                    x = block(x, train=train)
                else:
                    x = _attend(block, next(attentions), x, train=train)
            maps[stage.stride] = x
        return Features(maps=maps, pooled=x.mean((1, 2)))


def _attend(
    block: Bottleneck, module: RelativeAttention, x: jax.Array, *, train: bool
) -> jax.Array:
    """Runs a bottleneck with attention instead of its 3x3 convolution."""
    y = module(block.reduce(x, train=train))
    y = jax.nn.relu(block.norm2(y, train=train))
    return block.expand(x, y, train=train)


def _check(spec: ResNetSpec, *, replaced: int, stages: int, num_heads: int):
    """Raises UserError for options out of range."""
    count = len(spec.blocks)
    check_has_stages("botnet", spec)
    if replaced < 1:
        raise UserError(
            f"fusion 'botnet': replaced: expected 1 or more blocks, got {replaced}."
        )
    if not 1 <= stages <= count:
        raise UserError(
            f"fusion 'botnet': stages: expected 1 to {count}, the number of stages of the "
            f"ResNet, got {stages}."
        )
    narrowest = spec.width * 2 ** (count - stages)
    if num_heads < 1 or narrowest % num_heads:
        raise UserError(
            f"fusion 'botnet': num_heads: expected a divisor of the bottleneck width "
            f"{narrowest}, got {num_heads}."
        )
