"""Fine-tunes R26 + ViT-B/32, 101 M parameters, from two published halves.

Command:  python -m hybrid_jax.main --config=configs/finetune_r26_vit_b32.py:folder=birds
Hardware: accelerators; `--mode=profile` says what one step keeps in them
Time:     not yet measured
Result:   not yet measured

Its own weights (`imagenet21k/R26+ViT-B_32.npz`) are no longer to be had, so the ResNet is
that of R26+S/32 and the ViT is B/32, both AugReg's of ImageNet-21k; the 1x1 embedding
between the two is new. Who has the file passes it: `:pretrained=R26+ViT-B_32.npz`.
The recipe is AugReg's, see `recipes.finetune`.

`:pretrained=PATH` takes other weights, `:lr=0.01` another rate, `:freeze=backbone` trains
the head alone (a linear probe), `:layer_decay=0.75` changes least what was learnt first.
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import finetune


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    return finetune(
        "r26_vit_b32",
        argument,
        pretrained_resnet="hf://timm/vit_small_r26_s32_224.augreg_in21k",
        pretrained_vit="hf://timm/vit_base_patch32_224.augreg_in21k",
    )
