"""Fine-tunes R26 + ViT-B/16, 93 M parameters, which was never published.

Command:  python -m hybrid_jax.main --config=configs/finetune_r26_vit_b16.py:folder=birds
Hardware: accelerators; `--mode=profile` says what one step keeps in them
Time:     not yet measured
Result:   not yet measured

It starts from R50+B/16 of the ViT paper, fine-tuned at 384 px: every array of R26+B/16 has
a place there, and the residual units that an R26 does not have are left out. What is left
never worked by itself: give it a longer run than the others.
The recipe is AugReg's, see `recipes.finetune`.

`:pretrained=PATH` takes other weights, `:lr=0.01` another rate, `:freeze=backbone` trains
the head alone (a linear probe), `:layer_decay=0.75` changes least what was learnt first.
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import finetune


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    return finetune(
        "r26_vit_b16",
        argument,
        pretrained="hf://timm/vit_base_r50_s16_384.orig_in21k_ft_in1k",
    )
