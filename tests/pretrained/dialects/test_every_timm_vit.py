"""Every ViT that timm lists is read as timm builds it, or refused with a reason."""

import pytest
from shapes_alone import read, stored_of

from hybrid_jax.errors import UserError

files = pytest.importorskip("timm_files")
timm, torch = files.timm, files.torch

READ = [
    "deit_tiny_patch16_224",
    "deit3_small_patch16_384",
    "flexivit_small",
    "vit_tiny_patch16_384",
    "vit_base_patch32_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_huge_patch14_224",
    "vit_small_patch16_36x1_224",
    "vit_tiny_r_s16_p8_384",
    "vit_base_r50_s16_384",
    "vit_small_r26_s32_224",
]
REFUSED = dict(
    deit_tiny_distilled_patch16_224="distilled",
    vit_base_patch16_224_miil="qkv.bias",
    vit_xsmall_patch16_clip_224="before the blocks",
    vit_base_patch16_siglip_224="attention pooling",
    vit_base_patch16_siglip_gap_224="gelu='tanh'",
    vit_base_patch16_gap_224="heads=",
    vit_giant_patch14_reg4_dinov2="gated MLP",
    vit_small_patch16_18x2_224="parallel",
    vit_base_patch16_rpn_224="after the pooling",
    vit_wee_patch16_reg1_gap_256="after the pooling",
    deit3_medium_patch16_224="heads=",
    vit_relpos_medium_patch16_cls_224="relative positions",
    vit_small_patch16_rope_ape_224="gamma_1",
    eva02_tiny_patch14_224="after the pooling",
    cait_xxs24_224="gamma_1",
)


# Where timm keeps its ViTs, and those that spell their arrays alike.
MODULES = [
    "vision_transformer",
    "vision_transformer_hybrid",
    "vision_transformer_relpos",
    "vision_transformer_sam",
    "deit",
    "beit",
    "eva",
    "cait",
]


def built(name):
    """Returns a model of timm's list without its numbers, and the arrays of its file."""
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=10)
    return model, stored_of({k: array.shape for k, array in model.state_dict().items()})


def check(model, architecture):
    """Compares what a dialect has made of names and shapes with what timm has built."""
    vit, block = architecture.vit, model.blocks[0]
    assert vit.width == model.embed_dim
    assert vit.depth == len(model.blocks)
    assert vit.num_heads == block.attn.num_heads
    assert vit.norm_eps == model.norm.eps == block.norm1.eps
    assert (vit.gelu, block.mlp.act.approximate) == ("erf", "none")
    assert (vit.pool, model.global_pool) == ("cls", "token")
    assert vit.num_register_tokens == model.num_reg_tokens
    assert bool(vit.layer_scale) == hasattr(block.ls1, "gamma")
    assert architecture.grid == tuple(model.patch_embed.grid_size)
    assert architecture.cls_position != model.no_embed_class
    assert architecture.num_classes == 10


@pytest.mark.parametrize("name", READ)
def test_models_of_timm_are_read_as_they_are(name):
    model, stored = built(name)
    check(model, read(stored))


@pytest.mark.parametrize("name", REFUSED)
def test_models_of_timm_that_differ_are_refused(name):
    _, stored = built(name)
    with pytest.raises(UserError, match=REFUSED[name]):
        read(stored)


@pytest.mark.slow
def test_no_model_of_timm_is_taken_for_another():
    taken = []
    for name in timm.list_models():
        entry = timm.models.model_entrypoint(name)
        if entry.__module__.split(".")[-1] not in MODULES:
            continue
        model, stored = built(name)
        try:
            architecture = read(stored)
        except UserError:
            continue
        if architecture.resnet is None or architecture.resnet.norm == "group":
            check(model, architecture)
            taken.append(name)
    assert set(READ) <= set(taken)
