"""`stage_swap`: convolution stages, then transformer stages (CoAtNet, Dai et al., 2021).

With the pattern CCTT, a letter for each stage of the ResNet:

    C_4, C_8 = the first two stages of ResNet(x)    (B, H/s, W/s, C_s)
    z = Linear(2x2 cells of C_8)                    (B, h * w, D) at stride 16
    z = blocks(z), logits q.k / sqrt(d) + w[i - j]  (B, h * w, D)
    z = Linear(mean of 2x2 cells of z)              (B, h/2 * w/2, D) at stride 32
    z = blocks(z), logits q.k / sqrt(d) + w[i - j]  (B, h/2 * w/2, D)

w is a table over offsets for every block and head. It takes the place of the ViT's
positions along the sequence, which are not built; a ViT with rotary positions turns its
queries and keys as well. Class token and registers pass every stage and meet no w.
CoAtNet's C stages are of MBConv, its width doubles where the stride does, and it pools by
maximum; here the C stages are the ResNet's, all T stages are one ViT's, and cells past the
image do not count. The Linear between T stages starts as the identity, so that blocks
taken from a trained ViT receive the stream they know. Starts as neither part.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

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
    """What each head adds to the logit of two cells, by their offset alone.

    Args:
        heads: of the block it belongs to.
        grid: (h, w) the table is made for; any other is served by resizing.
    """

    def __init__(self, heads: int, grid: tuple[int, int], *, rngs: nnx.Rngs):
        shape = (heads, *(2 * side - 1 for side in grid))
        self.table = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), shape))

    def __call__(self, hw: tuple[int, int], *, prefix: int) -> jax.Array:
        """Returns (1, heads, prefix + h * w, prefix + h * w)."""
        return relative_bias(self.table[...], hw, prefix=prefix)


@FUSIONS.register("stage_swap")
class StageSwap(nnx.Module):
    """A ResNet's first stages, with a ViT's blocks in place of the others.

    From a head that reads `pooled` alone the norms of the earlier T stages get no gradient,
    nor does the last block's w where the class token is pooled, which meets none.

    Args:
        pattern: a letter per stage of the ResNet, C to keep it and T for transformer
            blocks: one or more C's, then one or more T's. The ViT's depth is shared among
            the T's as the ResNet's blocks are. Attention is over all cells: every T more
            quadruples the tokens. None replaces the later half of the stages (CCTT, CCT
            or CT), but no more of them than the ViT has blocks.
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
        # Past the ResNet's output stride the T stages stay at it, as its own would.
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
                RelativeBias(vit_spec.heads, grid, rngs=rngs)
                for grid, depth in zip(grids, self.depths, strict=True)
                for _ in range(depth)
            ]
        )
        # Between two T stages there is a step and a norm where the stride changes: where
        # it does not, the later stage's map is the one that is returned.
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
        self, images: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> Features:
        """Maps (B, H, W, 3) to the C stages' maps and the T stages' normed ones."""
        key = key if train else None
        maps = self.resnet(images, train=train)
        tokens, hw = self.vit.embed_map(maps[self.at], key=key)
        first = 0
        for stage, depth in enumerate(self.depths):
            if stage and self.steps[stage - 1] is not None:
                grid = self.norms[stage - 1](self.vit.to_map(tokens, hw=hw))
                maps[self.strides[stage - 1]] = grid
                tokens, hw = self._step(tokens, hw, step=self.steps[stage - 1])
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
        """Halves the grid of tokens; those before the grid only pass the projection."""
        pooled = average_pool(self.vit.to_map(tokens, hw=hw), factor=2)
        B, h, w, D = pooled.shape
        prefix = tokens[:, : self.vit.prefix]
        tokens = jnp.concatenate([prefix, pooled.reshape(B, h * w, D)], axis=1)
        return step(tokens), (h, w)


def share_blocks(depth: int, blocks: tuple[int, ...]) -> tuple[int, ...]:
    """Shares `depth` transformer blocks among stages of `blocks` residual blocks.

    Every stage has one; each of the rest goes where most is missing to its proportion.
    """
    shares = np.ones(len(blocks), int)
    proportion = depth * np.array(blocks) / sum(blocks)
    for _ in range(depth - len(blocks)):
        shares[np.argmax(proportion - shares)] += 1
    return tuple(int(share) for share in shares)


def _check_pattern(pattern: str | None, resnet_spec: ResNetSpec, vit_spec: ViTSpec) -> int:
    """Returns how many stages stay the ResNet's."""
    count = len(resnet_spec.blocks)
    if count < 2:
        raise UserError(
            f"fusion 'stage_swap': resnet: expected 2 or more stages, one to keep and one "
            f"to replace, got {count}."
        )
    if pattern is None:
        replaced = max(min(count // 2, vit_spec.depth), 1)
        pattern = "C" * (count - replaced) + "T" * replaced
    accepted = ["C" * kept + "T" * (count - kept) for kept in range(1, count)]
    if pattern not in accepted:
        raise UserError(
            f"fusion 'stage_swap': pattern: expected a letter for each of the ResNet's "
            f"{count} stages, C's before T's: {' or '.join(accepted)}, got {pattern!r}."
        )
    replaced = pattern.count("T")
    if vit_spec.depth < replaced:
        raise UserError(
            f"fusion 'stage_swap': vit.depth: expected {replaced} or more, a block for "
            f"each T of {pattern}, got {vit_spec.depth}."
        )
    return count - replaced
