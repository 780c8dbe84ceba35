"""`hf_vit`: the plain ViTs of transformers, such as `google/vit-base-patch16-224`.

`ViTForImageClassification` puts `vit.` before its names, `ViTModel` nothing; `dpt.` stands
before the same ViT under a depth estimator (DPT-Large). LayerNorms have epsilon 1e-12, the
default of transformers and Google's value there. The pooler of `ViTModel`, a tanh layer for
pre-training, is left out. ViT-B/16 with a classifier has 200 arrays.
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
    """ViTs that embed patches of the image itself, with a class token."""

    name = "hf_vit"

    def recognizes(self, stored: Stored) -> bool:
        """Tells whether a file has such a ViT and no ResNet before it."""
        inside = self.tidy(stored)
        return (
            names.is_vit(inside)
            and f"{_EMBED}.weight" in inside
            and not any(key.startswith(_BACKBONE) for key in inside)
        )

    def tidy(self, stored: Stored) -> Stored:
        """Takes off the prefix and gives layers their names of 2020."""
        return names.tidied(stored, prefixes=_PREFIXES)

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file; relatives of the ViT are refused."""
        # Nearest to its own way of fitting positions to another size, which is bicubic
        # without antialiasing; at the file's size nothing is fitted.
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
        """Returns where every array of such a model stands in such a file."""
        entries = names.vit_entries(architecture, embed=_EMBED)
        if architecture.num_classes:
            entries += names.linear("head/logits", "classifier")
        return entries
