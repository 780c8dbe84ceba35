"""Fine-tunes R50 + ViT-B/16 of the ViT paper, 99 M parameters.

Command:  python -m hybrid_jax.main --config=configs/finetune_r50_vit_b16.py:folder=birds
Hardware: accelerators; `--mode=profile` says what one step keeps in them
Time:     not yet measured
Result:   not yet measured

The weights are the ViT paper's of ImageNet-21k. The file published of them fine-tuned on
ImageNet-1k at 384 px has 84.99 % as timm evaluates it.
The recipe is AugReg's, see `recipes.finetune`.

`:pretrained=PATH` takes other weights, `:lr=0.01` another rate, `:freeze=backbone` trains
the head alone (a linear probe), `:layer_decay=0.75` changes least what was learnt first.
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import finetune


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    return finetune(
        "r50_vit_b16",
        argument,
        pretrained="hf://timm/vit_base_r50_s16_224.orig_in21k",
    )
