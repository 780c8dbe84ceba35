"""Maps at strides that a head needs and a fusion does not return."""

import jax
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.models.layers.conv_norm import group_count
from hybrid_jax.models.layers.convolution import Conv
from hybrid_jax.models.layers.normalization import GroupNorm
from hybrid_jax.ops.rescale import upsample


class PyramidAdapter(nnx.Module):
    """Adds maps of missing strides; existing maps are returned unchanged.

    A coarser map is a 3x3 convolution with stride 2 of the next finer one. A finer map is
    the nearest coarser one, upsampled bilinearly, then a 3x3 convolution. Both have as many
    channels as the map they are computed from, at most 256, a GroupNorm and a ReLU.

    Args:
        channels: stride -> C of the fusion's maps.
        wanted: strides that the head needs, powers of two.
        dtype: compute dtype.

    Attributes:
        channels: stride -> C of all maps it returns, fine to coarse.

    Raises:
        UserError: a stride that is not reached by doubling or halving another one.
    """

    def __init__(
        self,
        channels: dict[int, int],
        *,
        wanted: tuple[int, ...],
        dtype: str,
        rngs: nnx.Rngs,
    ):
        made = dict(channels)
        self.steps: tuple[tuple[int, int], ...] = ()  # (from, to), in order
        convs, norms = [], []
        finest = min(channels)
        finer = sorted((s for s in wanted if s < finest), reverse=True)
        for stride in (*finer, *sorted(s for s in wanted if s > finest)):
            for old, new in _steps_to(tuple(sorted(made)), stride):
                width = min(made[old], 256)
                convs.append(
                    Conv(
                        made[old],
                        width,
                        kernel=3,
                        stride=2 if new > old else 1,
                        padding="centered",
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                norms.append(
                    GroupNorm(width, eps=1e-6, groups=group_count(width), dtype=dtype)
                )
                self.steps += ((old, new),)
                made[new] = width
        self.convs, self.norms = nnx.List(convs), nnx.List(norms)
        self.channels = dict(sorted(made.items()))

    def __call__(
        self, maps: dict[int, jax.Array], *, image_hw: tuple[int, int], train: bool
    ) -> dict[int, jax.Array]:
        """Maps {stride: (B, h, w, C)} to the same with the added maps, fine to coarse."""
        maps = dict(maps)
        for (old, new), conv, norm in zip(self.steps, self.convs, self.norms, strict=True):
            x = maps[old]
            if new < old:
                x = upsample(x, grid_of(image_hw, new), factor=old // new)
            maps[new] = jax.nn.relu(norm(conv(x), train=train))
        return dict(sorted(maps.items()))


def _steps_to(given: tuple[int, ...], wanted: int) -> list[tuple[int, int]]:
    """Returns the steps (from stride, to stride) that lead from `given` to `wanted`."""
    if wanted in given:
        return []
    finer = [s for s in given if s < wanted]
    if not finer:
        old = min(given)
        if wanted < 1 or old % wanted:
            raise UserError(_unreachable(given, wanted))
        return [(old, wanted)]
    steps, at = [], max(finer)
    while at < wanted:
        steps.append((at, 2 * at))
        at *= 2
    if at != wanted:
        raise UserError(_unreachable(given, wanted))
    return steps


def _unreachable(given: tuple[int, ...], wanted: int) -> str:
    return (
        f"head: strides: expected strides that follow from the fusion's maps (strides "
        f"{', '.join(map(str, given))}) by doubling or halving, got {wanted}. Choose a "
        f"power of two."
    )
