"""The options that all ViT adapters share, and their checks."""

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
    """The sizes that follow from an adapter's options.

    Attributes:
        resnet: spec of the ResNet it builds.
        strides: strides of its maps, fine to coarse.
        groups: indices of the ViT's blocks in each group.
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
    num_interactions: int | None,
    extra: int,
    num_points: int,
    deform_ratio: float,
    ffn_ratio: float,
    sampling: str,
) -> AdapterPlan:
    """Checks the options that all adapters share and returns the sizes they give.

    Raises:
        UserError: an option out of range, see the functions below.
    """
    resnet, strides = prior_spec_and_strides(fusion, resnet, vit, prior=prior)
    groups = groups_of_blocks(fusion, vit.depth, num_interactions)
    check_sampled_points(fusion, extra=extra, num_points=num_points, sampling=sampling)
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
    """Returns the ResNet spec and the strides of a spatial prior.

    Returns:
        For "resnet" the given spec and the strides of its stages. For "stem" the spec
        without stages, and all strides up to its output stride.

    Raises:
        UserError: an unknown prior, fewer than two strides, or a patch size that is not
            one of the strides.
    """
    if prior not in PRIORS:
        raise UserError(
            f"fusion '{fusion}': prior: expected one of {PRIORS}, got {prior!r}."
        )
    count = len(resnet.blocks) if prior == "resnet" else len(_STRIDES)
    strides = tuple(s for s in _STRIDES[:count] if s <= resnet.output_stride)
    if len(strides) < 2:
        raise UserError(
            f"fusion '{fusion}': prior: expected a ResNet with maps at two or more "
            f"strides, got blocks {resnet.blocks} with output stride "
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
    fusion: str, depth: int, num_interactions: int | None
) -> tuple[range, ...]:
    """Splits `depth` block indices into `num_interactions` groups of even size.

    None means four groups, as in the papers, or one per block of a ViT with fewer blocks.

    Raises:
        UserError: fewer blocks than groups, or no group.
    """
    if num_interactions is None:
        num_interactions = min(_INTERACTIONS, depth)
    if num_interactions not in range(1, depth + 1):
        raise UserError(
            f"fusion '{fusion}': num_interactions: expected 1 to {depth}, the number of "
            f"blocks of the ViT, got {num_interactions!r}."
        )
    return even_shares(depth, num_interactions)


def inner_widths(
    fusion: str, spec: ViTSpec, *, deform_ratio: float, ffn_ratio: float
) -> tuple[int, int]:
    """Returns the widths inside deformable attention and inside the ConvFFN.

    Raises:
        UserError: `num_heads` does not divide the first, or the second is zero.
    """
    deform, ffn = (round(spec.width * ratio) for ratio in (deform_ratio, ffn_ratio))
    if deform < 1 or deform % spec.num_heads:
        raise UserError(
            f"fusion '{fusion}': deform_ratio: expected a fraction of the width "
            f"{spec.width} that gives a multiple of the {spec.num_heads} heads, got "
            f"{deform_ratio}."
        )
    if ffn < 1:
        raise UserError(
            f"fusion '{fusion}': ffn_ratio: expected a fraction of the width {spec.width} "
            f"that gives at least 1 hidden unit, got {ffn_ratio}."
        )
    return deform, ffn


def check_sampled_points(
    fusion: str, *, extra: int, num_points: int, sampling: str
) -> None:
    """Raises UserError for `extra` < 0, `num_points` < 1 or an unknown `sampling`."""
    for name, value, least in (("extra", extra, 0), ("num_points", num_points, 1)):
        if value < least:
            raise UserError(
                f"fusion '{fusion}': {name}: expected {least} or more, got {value}."
            )
    if sampling not in SAMPLINGS:
        raise UserError(
            f"fusion '{fusion}': sampling: expected one of {SAMPLINGS}, got {sampling!r}."
        )
