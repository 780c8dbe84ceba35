"""Names of published weights and their repositories.

The bucket of the original `.npz` files has been closed since February 2026; the same
weights are on the Hugging Face hub in timm's layout.
"""

# Names of the ViT and AugReg papers' files -> repository on the hub.
# Accuracies: ImageNet-1k top-1 as timm evaluates them (results of 2025).
PUBLISHED: dict[str, str] = {
    "R_Ti_16": "timm/vit_tiny_r_s16_p8_224.augreg_in21k",
    "R_Ti_16_384_in1k": "timm/vit_tiny_r_s16_p8_384.augreg_in21k_ft_in1k",  # 75.96
    "R26_S_32": "timm/vit_small_r26_s32_224.augreg_in21k",
    "R26_S_32_224_in1k": "timm/vit_small_r26_s32_224.augreg_in21k_ft_in1k",  # 81.86
    "R26_S_32_384_in1k": "timm/vit_small_r26_s32_384.augreg_in21k_ft_in1k",  # 84.07
    "R50_B_16": "timm/vit_base_r50_s16_224.orig_in21k",
    "R50_B_16_384_in1k": "timm/vit_base_r50_s16_384.orig_in21k_ft_in1k",  # 84.99
    "R50_L_32": "timm/vit_large_r50_s32_224.augreg_in21k",
    "R50_L_32_384_in1k": "timm/vit_large_r50_s32_384.augreg_in21k_ft_in1k",  # 86.19
    "S_16": "timm/vit_small_patch16_224.augreg_in21k",
    "B_16": "timm/vit_base_patch16_224.augreg_in21k",
    "L_16": "timm/vit_large_patch16_224.augreg_in21k",
}


def list_pretrained() -> tuple[str, ...]:
    """Returns the names of published weights that `load_pretrained` accepts."""
    return tuple(PUBLISHED)
