"""`bit`: Google's `.npz` files of BiT (Kolesnikov et al., 2019), such as BiT-M-R50x1.

Keys such as `resnet/block1/unit01/a/standardized_conv2d/kernel`, counted from one; in some
files a number follows `standardized_conv2d`. Norms precede their convolutions:
`a/group_norm` is `norm0` here. Kernels are not standardized. BiT-M-R50x1 has 153 arrays.
"""

import re

from hybrid_jax.pretrained.codecs import SAME, VECTOR, one
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
    entry,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.names import google
from hybrid_jax.pretrained.names import timm_resnet as names
from hybrid_jax.specs import ResNetSpec

_CONV = "standardized_conv2d"
_ROOT = f"resnet/root_block/{_CONV}/kernel"
_HEAD = "resnet/head/conv2d/"

# A 1x1 convolution (1, 1, in, out) that is a linear layer (in, out) here.
_LINEAR_11IO = one(lambda a: a[0, 0], lambda a: a[None, None])


@DIALECTS.register("bit")
class BiT:
    """BiT of any width and depth, in the layout of its authors."""

    name = "bit"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has BiT's root block under Google's name."""
        return any(key.startswith(f"resnet/root_block/{_CONV}") for key in stored)

    def tidy(self, stored: Stored) -> Stored:
        """Returns the ResNet's arrays, without the numbers after some modules' names."""
        return {
            re.sub(rf"/{_CONV}_\d+/", f"/{_CONV}/", key): array
            for key, array in stored.items()
            if key.startswith("resnet/")
        }

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file."""
        head = stored.get(f"{_HEAD}kernel")
        architecture = Architecture(
            fusion="resnet",
            resnet=ResNetSpec(
                blocks=google.counts(stored, r"resnet/block{}/unit(\d+)/"),
                width=stored[_ROOT].shape[-1],
                numerics="vit_jax",
                preactivation=True,
            ),
            num_classes=0 if head is None else head.shape[-1],
            preprocessing=Preprocessing(
                normalization="half", interpolation="bilinear", certain=False
            ),
        )
        names.check_keys(stored, self.entries(architecture), head=_HEAD)
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a ResNet."""
        spec = architecture.given_resnet
        entries = [entry("resnet/stem/conv/kernel", _ROOT, SAME)]
        for stage, count in enumerate(spec.blocks):
            for unit in range(count):
                ours = f"resnet/stages/{stage}/blocks/{unit}"
                theirs = f"resnet/block{stage + 1}/unit{unit + 1:02d}/"
                for n, letter in enumerate("abc"):
                    conv = f"{theirs}{letter}/{_CONV}/kernel"
                    entries.append(entry(f"{ours}/conv{n + 1}/kernel", conv, SAME))
                    entries += _norm(f"{ours}/norm{n}", f"{theirs}{letter}/")
                if unit == 0:
                    conv = f"{theirs}a/proj/{_CONV}/kernel"
                    entries.append(entry(f"{ours}/downsample/conv/kernel", conv, SAME))
        last = f"{len(spec.blocks) - 1}/blocks/{spec.blocks[-1] - 1}"
        entries += _norm(f"resnet/stages/{last}/final_norm", "resnet/")
        if architecture.num_classes:
            entries.append(entry("head/logits/kernel", f"{_HEAD}kernel", _LINEAR_11IO))
            entries.append(entry("head/logits/bias", f"{_HEAD}bias", SAME))
        return entries


def _norm(ours: str, theirs: str) -> list[Entry]:
    return [
        entry(f"{ours}/scale", f"{theirs}group_norm/gamma", VECTOR),
        entry(f"{ours}/bias", f"{theirs}group_norm/beta", VECTOR),
    ]
