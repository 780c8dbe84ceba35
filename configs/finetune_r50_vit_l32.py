"""Fine-tunes R50 + ViT-L/32, 329 M parameters, the largest published hybrid.

Command:  python -m hybrid_jax.main --config=configs/finetune_r50_vit_l32.py:folder=birds
Hardware: accelerators; `--mode=profile` says what one step keeps in them
Time:     not yet measured
Result:   not yet measured

The weights are AugReg's of ImageNet-21k. On ImageNet-1k at 384 px they reached 85.99 % in
the paper, and the file published of that 86.19 % as timm evaluates it.
The recipe is AugReg's, see `recipes.finetune`.

`:pretrained=PATH` takes other weights, `:lr=0.01` another rate, `:freeze=backbone` trains
the head alone (a linear probe), `:layer_decay=0.75` changes least what was learnt first.
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import finetune


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    return finetune(
        "r50_vit_l32",
        argument,
        pretrained="hf://timm/vit_large_r50_s32_224.augreg_in21k",
    )
