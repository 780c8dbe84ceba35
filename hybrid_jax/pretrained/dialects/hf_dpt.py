"""`hf_dpt`: the hybrid of transformers' DPT, such as `Intel/dpt-hybrid-midas`.

R50+ViT-B/16 of the ViT paper: three stages of post-activation bottlenecks under
`embeddings.backbone.bit.` (named BiT there), kernels not standardized, then a ViT. Neck and
head of a DPTForSemanticSegmentation are read as head `dpt`; those of a depth estimator are
left out. `google/vit-hybrid-base-bit-384` is the same model under `vit.`, one level deeper
and with a classifier; it is read too.
"""

import dataclasses
import re

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.codecs import CONV_OIHW
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
    entry,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.names import hf as names
from hybrid_jax.pretrained.names import hf_dpt as dpt_names
from hybrid_jax.pretrained.names.timm_resnet import without_counters
from hybrid_jax.specs import ResNetSpec

_PREFIXES = ("dpt.", "vit.", "")
_EMBED = "embeddings.projection"
_BACKBONE = "embeddings.backbone.bit."
_ROOT = f"{_BACKBONE}embedder.convolution.weight"
_DEEPER = re.compile(r"embeddings\.patch_embeddings\.(backbone|projection)\.")


@DIALECTS.register("hf_dpt")
class HfDpt:
    """Hybrids of ResNet and ViT, one token per cell of the ResNet's last map."""

    name = "hf_dpt"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has a ViT of transformers after a ResNet."""
        inside = self.tidy(stored)
        return names.is_vit(inside) and _ROOT in inside

    def tidy(self, stored: Stored) -> Stored:
        """Removes the prefix and uses the names of DPT, with layers named as in 2020."""
        inside = names.tidied(without_counters(stored), prefixes=_PREFIXES)
        return {_DEEPER.sub(r"embeddings.\1.", key): a for key, a in inside.items()}

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; other architectures raise an error."""
        vit = names.vit_of(stored, hints, embed=f"{_EMBED}.weight", resize="bilinear")
        if vit.patch_size != 1:
            raise UserError(
                f"the file embeds patches of {vit.patch_size} cells of a ResNet's last "
                f"map; 'sequential' embeds single cells."
            )
        resnet = _resnet_of(stored)
        head = stored.get("classifier.weight")
        architecture = Architecture(
            fusion="sequential",
            options=dict(stride=2 ** (len(resnet.blocks) + 1)),
            resnet=resnet,
            vit=vit,
            grid=names.grid_of(stored, hints),
            num_classes=0 if head is None else head.shape[0],
            preprocessing=Preprocessing(normalization="half", certain=False),
        )
        names.check_keys(stored, self.entries(architecture))
        if not dpt_names.segments(stored):
            return architecture
        architecture = dataclasses.replace(
            architecture,
            num_classes=dpt_names.class_count(stored),
            head="dpt",
            head_options=dpt_names.head_options(stored, depth=vit.depth),
        )
        dpt_names.check_head_keys(stored, dpt_names.head_entries(architecture))
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a model."""
        entries = _resnet_entries(architecture.given_resnet)
        entries += names.vit_entries(architecture, embed=_EMBED)
        if architecture.head == "dpt":
            entries += dpt_names.head_entries(architecture)
        elif architecture.num_classes:
            entries += names.linear("head/logits", "classifier")
        return entries


def _resnet_of(stored: Stored) -> ResNetSpec:
    units = {
        (int(m.group(1)), int(m.group(2)))
        for key in stored
        if (m := re.match(rf"{_BACKBONE}encoder\.stages\.(\d+)\.layers\.(\d+)\.", key))
    }
    stages = sorted({stage for stage, _ in units})
    if not stages or stages != list(range(len(stages))):
        raise UserError(
            f"expected consecutive stages of a ResNet under {_BACKBONE!r}, got {stages}. "
            f"Use a file of a complete model."
        )
    return ResNetSpec(
        blocks=tuple(sum(s == stage for s, _ in units) for stage in stages),
        width=stored[_ROOT].shape[0],
        numerics="timm",
    )


def _resnet_entries(spec: ResNetSpec) -> list[Entry]:
    root = f"{_BACKBONE}embedder"
    entries = [
        entry("resnet/stem/conv/kernel", f"{root}.convolution.weight", CONV_OIHW),
        *names.norm("resnet/stem/norm", f"{root}.norm"),
    ]
    for stage, count in enumerate(spec.blocks):
        for unit in range(count):
            ours = f"resnet/stages/{stage}/blocks/{unit}"
            theirs = f"{_BACKBONE}encoder.stages.{stage}.layers.{unit}"
            for n in "123":
                entries += _conv_norm(ours, theirs, n=n)
            if unit == 0:
                entries += _conv_norm(f"{ours}/downsample", f"{theirs}.downsample", n="")
    return entries


def _conv_norm(ours: str, theirs: str, *, n: str) -> list[Entry]:
    """Returns the entries of the n-th convolution of a block and its norm."""
    conv = entry(f"{ours}/conv{n}/kernel", f"{theirs}.conv{n}.weight", CONV_OIHW)
    return [conv, *names.norm(f"{ours}/norm{n}", f"{theirs}.norm{n}")]
