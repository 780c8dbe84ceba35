"""`vit_jax`: the `.npz` files of ViT (2020) and AugReg (2021), hybrids included.

Keys such as `Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel`, with or without the
prefix `opt/target/`; the modules of a block are numbered as in Linen or as before. Kernels
are not standardized. R26+S/32 has 287 arrays, R50+L/32 551.
"""

from hybrid_jax.pretrained.codecs import grid_positions, positions
from hybrid_jax.pretrained.dialect import (
    Architecture,
    Entry,
    Hints,
    Preprocessing,
    Stored,
    entry,
)
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.inferred_options import wiring_of
from hybrid_jax.pretrained.names import google as names
from hybrid_jax.pretrained.position_grid import grid_of_table

_POSITIONS = "Transformer/posembed_input/pos_embedding"


@DIALECTS.register("vit_jax")
class VitJax:
    """Plain ViTs and ResNet + ViT hybrids, with the class token in the position table."""

    name = "vit_jax"

    def recognizes(self, stored: Stored) -> bool:
        """Whether a file has a position table in its encoder."""
        return any(key.endswith(_POSITIONS) for key in stored)

    def tidy(self, stored: Stored) -> Stored:
        """Removes the prefix and numbers the modules as Linen does."""
        return names.with_linen_numbers(
            names.without_prefix(stored, "opt/target/", "params/")
        )

    def architecture(self, stored: Stored, hints: Hints) -> Architecture:
        """Returns the model of a tidied file."""
        resnet = names.resnet_of(stored)
        cls = "cls" in stored
        vit = names.vit_of(stored, pool="cls" if cls else "mean")
        fusion, options = wiring_of(resnet, vit.patch_size)
        cells = stored[_POSITIONS].shape[1] - cls
        head = stored.get("head/kernel")
        return Architecture(
            fusion=fusion,
            options=options,
            resnet=resnet,
            vit=vit,
            grid=grid_of_table([cells], hints, where=_POSITIONS),
            cls_position=cls,
            num_classes=0 if head is None else head.shape[1],
            head_options=names.head_options(stored),
            preprocessing=Preprocessing(normalization="half"),
        )

    def entries(self, architecture: Architecture) -> list[Entry]:
        """Returns the entries of all arrays of such a model."""
        resnet, vit = architecture.resnet, architecture.given_vit
        entries = names.resnet_entries(resnet) if resnet else []
        if vit.pool == "cls":
            paths = ("vit/cls_position", "vit/position")
            codec = positions(architecture.given_grid, cls=architecture.cls_position)
            entries.append(entry(paths, _POSITIONS, codec))
        else:
            codec = grid_positions(architecture.given_grid)
            entries.append(entry("vit/position", _POSITIONS, codec))
        entries += names.vit_entries(vit)
        return entries + names.head_entries(architecture)
