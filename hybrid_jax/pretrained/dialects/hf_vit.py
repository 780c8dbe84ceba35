"""`hf_vit`: the plain ViTs of transformers, such as `google/vit-base-patch16-224`.

The prefix is `vit.` in `ViTForImageClassification`, none in `ViTModel`, and `dpt.` in a
depth estimator (DPT-Large). The epsilon of LayerNorm is 1e-12, the default of transformers.
The pooler of `ViTModel`, a tanh layer for pre-training, is left out. ViT-B/16 with a
classifier has 200 arrays.
"""

from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.names import hf as names

_EMBED = "embeddings.patch_embeddings.projection"
_BACKBONE = "embeddings.patch_embeddings.backbone."
_PREFIXES = ("vit.", "dpt.", "")


@DIALECTS.register("hf_vit")
class HfViT:
    """ViTs on image patches, with a class token."""

    name = "hf_vit"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has a ViT of transformers without a ResNet before it."""
        inside = self.tidy(stored)
        return (
            names.is_vit(inside)
            and f"{_EMBED}.weight" in inside
            and not any(key.startswith(_BACKBONE) for key in inside)
        )

    def tidy(self, stored: Stored) -> Stored:
        """Removes the prefix and uses the layer names of 2020."""
        return names.tidied(stored, prefixes=_PREFIXES)

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; other architectures raise an error."""
        # transformers resizes positions bicubically without antialiasing; this is the
        # nearest method here.
        vit = names.vit_of(stored, hints, embed=f"{_EMBED}.weight", resize="bicubic_aa")
        head = stored.get("classifier.weight")
        architecture = Architecture(
            fusion="vit",
            vit=vit,
            grid=names.grid_of(stored, hints),
            num_classes=0 if head is None else head.shape[0],
            preprocessing=Preprocessing(normalization="half", certain=False),
        )
        names.check_keys(stored, self.entries(architecture))
        return architecture

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a model."""
        entries = names.vit_entries(architecture, embed=_EMBED)
        if architecture.num_classes:
            entries += names.linear("head/logits", "classifier")
        return entries
