"""`timm_resnet`: ResNets with BatchNorm, of timm and of torchvision.

Keys such as `layer1.0.conv1.weight`, the classifier under `fc.`; ResNet-C and -D have
`conv1.0`, `conv1.3` and `conv1.6` instead of `conv1`. ResNet-50 has 267 arrays, without the
53 batch counters, which are left out.
"""

from hybrid_jax.pretrained.codecs import LINEAR_OI, SAME
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

_FIRST = "layer1.0.conv1.weight"


@DIALECTS.register("timm_resnet")
class TimmResNet:
    """resnet26 to resnet152 (v1.5), and their ResNet-C and -D variants."""

    name = "timm_resnet"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has the first layer and the first norm of torchvision's ResNet."""
        inside = names.unwrapped(stored, _FIRST)
        return inside is not None and "bn1.weight" in inside

    def tidy(self, stored: Stored) -> Stored:
        """Removes the prefix of wrapped models and the batch counters of BatchNorm."""
        inside = names.unwrapped(stored, _FIRST)
        assert inside is not None  # recognized before
        return names.without_counters(inside)

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; other architectures raise an error."""
        head = stored.get("fc.weight")
        architecture = Architecture(
            fusion="resnet",
            resnet=names.resnet_of(stored),
            num_classes=0 if head is None else head.shape[0],
            preprocessing=Preprocessing(
                normalization="imagenet",
                interpolation="bicubic",
                eval_crop=0.875,
                certain=False,
            ),
        )
        names.check_keys(stored, self.entries(architecture), head="fc.")
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a ResNet."""
        entries = names.resnet_entries(architecture.given_resnet)
        if architecture.num_classes:
            entries.append(entry("head/logits/kernel", "fc.weight", LINEAR_OI))
            entries.append(entry("head/logits/bias", "fc.bias", SAME))
        return entries
