"""`stage_swap`: convolutional stages, then transformer stages (CoAtNet, Dai et al., 2021).

With the pattern CCTT, one letter for each stage:

    C_4, C_8 = the first two stages of ResNet(x)    (B, H/s, W/s, C_s)
    z = Linear(2x2 cells of C_8)                    (B, h * w, D) at stride 16
    z = blocks(z), logits q.k / sqrt(d) + w[i - j]  (B, h * w, D)
    z = Linear(mean of 2x2 cells of z)              (B, h/2 * w/2, D) at stride 32
    z = blocks(z), logits q.k / sqrt(d) + w[i - j]  (B, h/2 * w/2, D)

w is a relative position bias, a table over offsets for every block and head. It replaces
the ViT's absolute positions, which are not built; rotary positions are used in addition.
Class token and register tokens pass through all T stages, without w.

Differences to the paper: CoAtNet's C stages are MBConv blocks, its width doubles with the
stride, and it downsamples by max pooling; here the C stages are the ResNet's, all T stages
belong to one ViT, and downsampling averages the cells inside the image. The Linear between
T stages starts as the identity, so that pretrained ViT blocks get the features they were
trained on. At initialization the features equal those of neither part.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from hybrid_jax.array_types import Array, Images
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.layers.transformer import layer_norm, linear
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT
from hybrid_jax.ops.attention.relative_positions import relative_bias
from hybrid_jax.ops.rescale import average_pool
from hybrid_jax.specs import ResNetSpec, ViTSpec


def _identity(key, shape, dtype=jnp.float32):
    return jnp.eye(*shape, dtype=dtype)


class RelativeBias(nnx.Module):
    """A relative position bias (CoAtNet): a learned table over offsets for each head.

    Args:
        num_heads: heads of the attention.
        grid: (h, w) of the table; it is resized to any other grid.
    """

    def __init__(self, num_heads: int, grid: tuple[int, int], *, rngs: nnx.Rngs):
        shape = (num_heads, *(2 * side - 1 for side in grid))
        self.table = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), shape))

    def __call__(self, hw: tuple[int, int], *, prefix: int) -> Float[Array, "1 heads N N"]:
        """Returns (1, heads, prefix + h * w, prefix + h * w)."""
        return relative_bias(self.table[...], hw, prefix=prefix)


@FUSIONS.register("stage_swap")
class StageSwap(nnx.Module):
    """The first stages of a ResNet, then the blocks of a ViT instead of the other stages.

    A head that reads only `pooled` gives no gradient to the norms of the earlier T stages
    and, with class pooling, to w of the last block.

    Args:
        pattern: one letter per stage of the ResNet, C to keep it and T to replace it by
            transformer blocks: one or more C's, then one or more T's. The ViT's blocks are
            distributed over the T stages in proportion to the ResNet's. Attention is over
            all cells: each additional T quadruples the number of tokens. None replaces the
            later half of the stages (CCTT, CCT or CT), but at most as many as the ViT has
            blocks.
    """

    parts = ("resnet", "vit")
    starts_as = None

    def __init__(
        self,
        resnet_spec: ResNetSpec,
        vit_spec: ViTSpec,
        *,
        image_size: tuple[int, int],
        rngs: nnx.Rngs,
        pattern: str | None = None,
    ):
        kept = _check_pattern(pattern, resnet_spec, vit_spec)
        blocks = resnet_spec.blocks
        self.resnet = ResNet(
            dataclasses.replace(resnet_spec, blocks=blocks[:kept]), rngs=rngs
        )
        # T stages do not exceed the ResNet's output stride.
        self.strides = tuple(
            min(4 * 2**index, resnet_spec.output_stride)
            for index in range(kept, len(blocks))
        )
        grids = [grid_of(image_size, stride) for stride in self.strides]
        self.at = max(self.resnet.channels)
        self.vit = ViT(
            vit_spec,
            grid=grids[0],
            in_channels=self.resnet.channels[self.at],
            patch_size=self.strides[0] // self.at,
            without=("positions",),
            rngs=rngs,
        )
        self.depths = share_blocks(vit_spec.depth, blocks[kept:])
        self.relative = nnx.List(
            [
                RelativeBias(vit_spec.num_heads, grid, rngs=rngs)
                for grid, depth in zip(grids, self.depths, strict=True)
                for _ in range(depth)
            ]
        )
        # A step and a norm between two T stages of different strides. Of stages with the
        # same stride, only the map of the last is returned.
        D = vit_spec.width
        changes = [new > old for old, new in itertools.pairwise(self.strides)]
        self.steps = nnx.List(
            [
                linear(vit_spec, D, D, rngs=rngs, kernel_init=_identity) if c else None
                for c in changes
            ]
        )
        self.norms = nnx.List(
            [layer_norm(vit_spec, rngs=rngs) if c else None for c in changes]
        )
        self.channels = self.resnet.channels | dict.fromkeys(self.strides, D)
        self.width = D

    def __call__(
        self, images: Images, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the maps of all stages; those of T stages are normed."""
        key = key if train else None
        maps = self.resnet(images, train=train)
        tokens, hw = self.vit.embed_map(maps[self.at], key=key)
        first = 0
        for stage, depth in enumerate(self.depths):
            step = self.steps[stage - 1] if stage else None
            norm = self.norms[stage - 1] if stage else None
            if step is not None and norm is not None:
                maps[self.strides[stage - 1]] = norm(self.vit.to_map(tokens, hw=hw))
                tokens, hw = self._step(tokens, hw, step=step)
            for index in range(first, first + depth):
                bias = self.relative[index](hw, prefix=self.vit.prefix)
                tokens = self.vit.run_block(
                    index, tokens, hw=hw, key=key, bias=bias.astype(tokens.dtype)
                )
            first += depth
        tokens = self.vit.norm(tokens)
        maps[self.strides[-1]] = self.vit.to_map(tokens, hw=hw)
        return Features(maps=maps, pooled=self.vit.pool_tokens(tokens))

    def _step(self, tokens: jax.Array, hw: tuple[int, int], *, step: nnx.Linear):
        """Halves the grid of the patch tokens and projects all tokens."""
        pooled = average_pool(self.vit.to_map(tokens, hw=hw), factor=2)
        B, h, w, D = pooled.shape
        prefix = tokens[:, : self.vit.prefix]
        tokens = jnp.concatenate([prefix, pooled.reshape(B, h * w, D)], axis=1)
        return step(tokens), (h, w)


def share_blocks(depth: int, blocks: tuple[int, ...]) -> tuple[int, ...]:
    """Distributes `depth` transformer blocks over stages, in proportion to `blocks`.

    Every stage gets at least one; each further block goes to the stage that is furthest
    below its proportion.
    """
    shares = np.ones(len(blocks), int)
    proportion = depth * np.array(blocks) / sum(blocks)
    for _ in range(depth - len(blocks)):
        shares[np.argmax(proportion - shares)] += 1
    return tuple(int(share) for share in shares)


def _check_pattern(pattern: str | None, resnet_spec: ResNetSpec, vit_spec: ViTSpec) -> int:
    """Checks the pattern and returns the number of C stages."""
    count = len(resnet_spec.blocks)
    if count < 2:
        raise UserError(
            f"fusion 'stage_swap': resnet: expected 2 or more stages, at least one to keep "
            f"and one to replace, got {count}."
        )
    if pattern is None:
        replaced = max(min(count // 2, vit_spec.depth), 1)
        pattern = "C" * (count - replaced) + "T" * replaced
    accepted = ["C" * kept + "T" * (count - kept) for kept in range(1, count)]
    if pattern not in accepted:
        raise UserError(
            f"fusion 'stage_swap': pattern: expected one letter for each of the ResNet's "
            f"{count} stages, C's before T's: {' or '.join(accepted)}, got {pattern!r}."
        )
    replaced = pattern.count("T")
    if vit_spec.depth < replaced:
        raise UserError(
            f"fusion 'stage_swap': vit.depth: expected {replaced} or more, one block for "
            f"each T of {pattern}, got {vit_spec.depth}."
        )
    return count - replaced
