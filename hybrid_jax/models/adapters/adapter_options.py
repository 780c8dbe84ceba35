"""The options that adapters of a ViT share: what they need, and what is refused."""

import dataclasses

from hybrid_jax.errors import UserError
from hybrid_jax.models.block_shares import even_shares
from hybrid_jax.ops.attention.deformable import SAMPLINGS
from hybrid_jax.specs import ResNetSpec, ViTSpec

PRIORS = ("resnet", "stem")
_STRIDES = (4, 8, 16, 32)
_INTERACTIONS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdapterPlan:
    """What an adapter's options come to.

    Attributes:
        resnet: spec of the ResNet it builds.
        strides: of its maps, fine to coarse.
        groups: indices of the ViT's blocks, group by group.
        deform_dim: width inside deformable attention.
        ffn_dim: hidden width of the ConvFFN.
    """

    resnet: ResNetSpec
    strides: tuple[int, ...]
    groups: tuple[range, ...]
    deform_dim: int
    ffn_dim: int


def plan_adapter(
    fusion: str,
    resnet: ResNetSpec,
    vit: ViTSpec,
    *,
    prior: str,
    interactions: int | None,
    extra: int,
    points: int,
    deform_ratio: float,
    ffn_ratio: float,
    sampling: str,
) -> AdapterPlan:
    """Checks the options that all adapters have, before anything is built.

    Raises:
        UserError: as the functions below.
    """
    resnet, strides = prior_spec_and_strides(fusion, resnet, vit, prior=prior)
    groups = groups_of_blocks(fusion, vit.depth, interactions)
    check_sampled_points(fusion, extra=extra, points=points, sampling=sampling)
    deform_dim, ffn_dim = inner_widths(
        fusion, vit, deform_ratio=deform_ratio, ffn_ratio=ffn_ratio
    )
    return AdapterPlan(
        resnet=resnet,
        strides=strides,
        groups=groups,
        deform_dim=deform_dim,
        ffn_dim=ffn_dim,
    )


def prior_spec_and_strides(
    fusion: str, resnet: ResNetSpec, vit: ViTSpec, *, prior: str
) -> tuple[ResNetSpec, tuple[int, ...]]:
    """Checks what a fusion with a spatial prior is asked for.

    Returns:
        The spec of the ResNet it needs, and the strides of its maps: the ResNet's own, or
        those up to its output stride for a stem, which needs its root block alone.

    Raises:
        UserError: an unknown prior, a ResNet without a second stage, or a patch size
            that is the stride of no map.
    """
    if prior not in PRIORS:
        raise UserError(
            f"fusion '{fusion}': prior: expected one of {PRIORS}, got {prior!r}."
        )
    count = len(resnet.blocks) if prior == "resnet" else len(_STRIDES)
    strides = tuple(s for s in _STRIDES[:count] if s <= resnet.output_stride)
    if len(strides) < 2:
        raise UserError(
            f"fusion '{fusion}': prior: expected a ResNet with maps at two strides or "
            f"more, got blocks {resnet.blocks} with output stride "
            f"{resnet.output_stride}; choose r26 or r50, or prior='stem'."
        )
    if vit.patch_size not in strides:
        raise UserError(
            f"fusion '{fusion}': vit.patch_size: expected one of the strides {strides} of "
            f"its maps, got {vit.patch_size}."
        )
    if prior == "stem":
        resnet = dataclasses.replace(resnet, blocks=())
    return resnet, strides


def groups_of_blocks(
    fusion: str, depth: int, interactions: int | None
) -> tuple[range, ...]:
    """Parts `depth` block indices into `interactions` groups of even size.

    None stands for the papers' four groups, or for one per block of a shallower ViT.

    Raises:
        UserError: fewer blocks than groups, or no group.
    """
    if interactions is None:
        interactions = min(_INTERACTIONS, depth)
    if interactions not in range(1, depth + 1):
        raise UserError(
            f"fusion '{fusion}': interactions: expected 1 to {depth}, the blocks of the "
            f"ViT, got {interactions!r}."
        )
    return even_shares(depth, interactions)


def inner_widths(
    fusion: str, spec: ViTSpec, *, deform_ratio: float, ffn_ratio: float
) -> tuple[int, int]:
    """Returns the widths inside deformable attention and inside the ConvFFN.

    Raises:
        UserError: the ViT's heads do not divide the first, or the second has no unit.
    """
    deform, ffn = (round(spec.width * ratio) for ratio in (deform_ratio, ffn_ratio))
    if deform < 1 or deform % spec.heads:
        raise UserError(
            f"fusion '{fusion}': deform_ratio: expected a share of the width "
            f"{spec.width} that {spec.heads} heads divide, got {deform_ratio}."
        )
    if ffn < 1:
        raise UserError(
            f"fusion '{fusion}': ffn_ratio: expected a share of the width {spec.width} "
            f"of at least one unit, got {ffn_ratio}."
        )
    return deform, ffn


def check_sampled_points(fusion: str, *, extra: int, points: int, sampling: str) -> None:
    """Raises UserError for a negative count, no point, or an unknown way of sampling."""
    for name, value, least in (("extra", extra, 0), ("points", points, 1)):
        if value < least:
            raise UserError(
                f"fusion '{fusion}': {name}: expected {least} or more, got {value}."
            )
    if sampling not in SAMPLINGS:
        raise UserError(
            f"fusion '{fusion}': sampling: expected one of {SAMPLINGS}, got {sampling!r}."
        )
