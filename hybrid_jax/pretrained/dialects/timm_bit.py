"""`timm_bit`: timm's ResNets with StdConv and GroupNorm, such as `resnetv2_50x1_bit`.

Keys such as `stages.0.blocks.0.conv1.weight`, counted from zero; the classifier is a 1x1
convolution, `head.fc`. Blocks of BiT begin with their norm, so that their `norm1` is
`norm0` here, and so on. A root with a norm means post-activation blocks, as in the hybrids.
Kernels are not standardized. `resnetv2_50x1_bit` has 153 arrays.
"""

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.codecs import CONV_OIHW, LINEAR_OI11, SAME
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
    entry,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.names import timm_resnet as names
from hybrid_jax.specs import ResNetSpec

_BLOCK = "stages.0.blocks.0."
_FIRST = f"{_BLOCK}conv1.weight"


@DIALECTS.register("timm_bit")
class TimmBiT:
    """BiT (Kolesnikov et al., 2019) of any width and depth, in timm's layout."""

    name = "timm_bit"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has a ResNetV2 with a stem and stages."""
        inside = names.unwrapped(stored, _FIRST)
        return (
            inside is not None
            and f"{_BLOCK}norm1.weight" in inside
            and f"{_BLOCK}conv2.weight" in inside
            and ("stem.conv.weight" in inside or "stem.conv1.weight" in inside)
        )

    def tidy(self, stored: Stored) -> Stored:
        """Removes the prefix of wrapped models."""
        inside = names.unwrapped(stored, _FIRST)
        assert inside is not None  # recognized before
        return inside

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; other architectures raise an error."""
        _check_variant(stored)
        head = stored.get("head.fc.weight")
        architecture = Architecture(
            fusion="resnet",
            resnet=ResNetSpec(
                blocks=names.block_counts(stored, r"stages\.(\d+)\.blocks\.(\d+)\."),
                width=stored["stem.conv.weight"].shape[0],
                numerics="timm",
                preactivation="stem.norm.weight" not in stored,
            ),
            num_classes=0 if head is None else head.shape[0],
            preprocessing=Preprocessing(
                normalization="half", interpolation="bilinear", certain=False
            ),
        )
        names.check_keys(stored, self.entries(architecture), head="head.fc.")
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a ResNet."""
        spec = architecture.given_resnet
        if spec.root != "7x7" or spec.shortcut != "strided":
            raise UserError(
                f"expected root='7x7' and shortcut='strided', as timm's ResNets with "
                f"StdConv and GroupNorm have, got root={spec.root!r} and "
                f"shortcut={spec.shortcut!r}, for which timm has no names."
            )
        entries = _resnet_entries(spec)
        if architecture.num_classes:
            entries.append(entry("head/logits/kernel", "head.fc.weight", LINEAR_OI11))
            entries.append(entry("head/logits/bias", "head.fc.bias", SAME))
        return entries


def _check_variant(stored: Stored) -> None:
    if f"{_BLOCK}conv3.weight" not in stored:
        what = "blocks of two convolutions (18 or 34 layers)"
    elif f"{_BLOCK}norm1.running_mean" in stored:
        what = "BatchNorms before its convolutions"
    elif "stem.conv.weight" not in stored:
        what = "a deep root; timm's with GroupNorm have no StdConv"
    else:
        return
    raise UserError(
        f"the file holds a ResNetV2 with {what}, which this library does not have. Use a "
        f"BiT, such as resnetv2_50x1_bit."
    )


def _resnet_entries(spec: ResNetSpec) -> list[Entry]:
    entries = [_conv("resnet/stem/conv", "stem.conv")]
    if not spec.preactivation:
        entries += _norm("resnet/stem/norm", "stem.norm")
    for stage, count in enumerate(spec.blocks):
        for unit in range(count):
            ours = f"resnet/stages/{stage}/blocks/{unit}"
            theirs = f"stages.{stage}.blocks.{unit}"
            for n in (1, 2, 3):
                number = n - 1 if spec.preactivation else n
                entries.append(_conv(f"{ours}/conv{n}", f"{theirs}.conv{n}"))
                entries += _norm(f"{ours}/norm{number}", f"{theirs}.norm{n}")
            if unit == 0:
                ours, theirs = f"{ours}/downsample", f"{theirs}.downsample"
                entries.append(_conv(f"{ours}/conv", f"{theirs}.conv"))
                if not spec.preactivation:
                    entries += _norm(f"{ours}/norm", f"{theirs}.norm")
    if spec.preactivation:
        last = f"{len(spec.blocks) - 1}/blocks/{spec.blocks[-1] - 1}"
        entries += _norm(f"resnet/stages/{last}/final_norm", "norm")
    return entries


def _conv(ours: str, theirs: str) -> Entry:
    return entry(f"{ours}/kernel", f"{theirs}.weight", CONV_OIHW)


def _norm(ours: str, theirs: str) -> list[Entry]:
    return [
        entry(f"{ours}/scale", f"{theirs}.weight", SAME),
        entry(f"{ours}/bias", f"{theirs}.bias", SAME),
    ]
