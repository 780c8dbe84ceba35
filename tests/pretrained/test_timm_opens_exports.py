"""Files that `save_pretrained` writes open in timm, which then answers alike."""

import dataclasses

import donors
import numpy as np
import pytest
from donors import donor

import hybrid_jax
from hybrid_jax.pretrained.save import save_pretrained


def test_timm_opens_what_was_trained_here(tmp_path):
    files = pytest.importorskip("timm_files")
    options = dict(gelu="erf", norm_eps=1e-6)
    numerics = dict(resnet_options=dict(numerics="timm"), vit_options=options)
    wide = dict(width=384, heads=6, mlp=1536, depth=2, blocks=(2, 2, 2, 2), root=64)
    wide |= dict(grid=(3, 3), classes=10)
    path, _ = donor(tmp_path, dataclasses.replace(donors.HYBRID, **wide))
    model, _ = hybrid_jax.load_pretrained(path, **numerics)
    written = tmp_path / "out" / "model.safetensors"
    assert save_pretrained(model, written) == ()
    theirs = files.timm.create_model(
        "vit_small_r26_s32_224",
        num_classes=10,
        depth=2,
        img_size=96,
        checkpoint_path=str(written),
    ).eval()
    batch = files.images((96, 96))
    expected = files.answer(theirs, batch)
    assert np.abs(np.asarray(files.ours(model, batch)) - expected).max() <= 2e-4
    assert np.abs(expected).max() > 0.5


def test_timm_opens_a_vit_that_pools_by_the_mean(tmp_path):
    files = pytest.importorskip("timm_files")
    options = dict(gelu="erf", norm_eps=1e-6)
    mean = dataclasses.replace(donors.PLAIN, depth=2, pool="mean", positions="grid")
    model, _ = hybrid_jax.load_pretrained(donor(tmp_path, mean)[0], vit_options=options)
    save_pretrained(model, tmp_path / "out" / "w.safetensors")
    theirs = files.plain(
        img_size=80,
        patch_size=16,
        embed_dim=48,
        depth=2,
        num_heads=3,
        mlp_ratio=80 / 48,
        num_classes=7,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    )
    state = files.safetensors.torch.load_file(tmp_path / "out" / "w.safetensors")
    theirs.load_state_dict(state, strict=True)
    batch = files.images((80, 80))
    expected = files.answer(theirs, batch)
    np.testing.assert_allclose(files.ours(model, batch), expected, atol=2e-5)
    assert np.abs(expected).max() > 0.5
