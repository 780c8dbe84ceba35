"""transformers' ViTs: against its own answers, and against a file written by hand."""

import numpy as np
import pytest
from flax import nnx
from hf_writer import CLASSES, DEPTH, HEADS, D, Pair, renamed, save

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files.array_file import open_arrays
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.load import leaves_by_path

EMBED = "patch_embeddings.projection"


def by_hand(prefix="vit.", *, grid=(3, 3), classes=CLASSES, depth=DEPTH):
    pair = Pair(depth=depth)
    pair.vit(prefix, embed=EMBED, channels=3, patch=8, grid=grid)
    if classes:
        pair.linear("head/logits", "classifier", classes, D)
    return pair


def check_equal(loaded, wanted, *, new=()):
    found = leaves_by_path(nnx.to_pure_dict(nnx.state(loaded)))
    assert sorted(found) == sorted([*wanted, *new])
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("spelling", [dict, renamed])
@pytest.mark.parametrize("prefix", ["vit.", ""])
def test_fills_every_array(tmp_path, prefix, spelling):
    pair = by_hand(prefix)
    path = save(tmp_path / "x.safetensors", spelling(pair.file))
    loaded, report = hybrid_jax.load_pretrained(path, num_heads=HEADS)
    check_equal(loaded, pair.ours)
    assert {row.action for row in report.rows} == {"loaded"}
    assert "dialect  hf_vit" in report.notes


def test_entries_write_what_they_read(tmp_path):
    path = save(tmp_path / "x.safetensors", by_hand().file)
    opened = open_published(path, hints=Hints(num_heads=HEADS))
    for entry in opened.entries:
        arrays = [opened.stored[key].read() for key in entry.keys]
        again = entry.codec.write(*entry.codec.read(*arrays))
        for array, written in zip(arrays, again, strict=True):
            np.testing.assert_array_equal(written, array, strict=True)


def test_file_as_deep_as_vit_b_has_200_arrays(tmp_path):
    pair = by_hand(depth=12)
    assert len(pair.file) == 200
    arrays = open_arrays(save(tmp_path / "x.safetensors", pair.file))
    known = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(arrays)]
    assert known == ["hf_vit"]


@pytest.mark.parametrize("prefix", ["vit.", "", "dpt."])
def test_what_is_no_part_of_a_classifier_is_left_out(tmp_path, prefix):
    pair = by_hand(prefix, classes=0)
    beside = [f"{prefix}pooler.dense.weight", f"{prefix}embeddings.mask_token", "neck.x"]
    for key in beside:
        pair.only(key, 1, 1, D)
    path = save(tmp_path / "x.safetensors", pair.file)
    loaded, report = hybrid_jax.load_pretrained(path, num_heads=HEADS, num_classes=7)
    check_equal(loaded, pair.ours, new=["head/logits/kernel", "head/logits/bias"])
    dropped = sorted(row.path for row in report.where("dropped"))
    assert dropped == sorted(key.removeprefix(prefix) for key in beside)


def test_grid_that_is_no_square_is_asked_for(tmp_path):
    pair = by_hand(grid=(2, 4))
    path = save(tmp_path / "x.safetensors", pair.file)
    with pytest.raises(UserError, match=r"square grid of positions, got 8.*grid="):
        hybrid_jax.load_pretrained(path, num_heads=HEADS)
    loaded, _ = hybrid_jax.load_pretrained(path, num_heads=HEADS, grid=(2, 4))
    check_equal(loaded, pair.ours)


def test_heads_of_an_unusual_width_are_asked_for(tmp_path):
    path = save(tmp_path / "x.safetensors", by_hand().file)
    with pytest.raises(UserError, match=rf"heads its ViT of width {D} has.*heads="):
        hybrid_jax.load_pretrained(path)


REFUSED = {
    "vit.embeddings.distillation_token": "unknown array 'embeddings.distillation_token'",
    "vit.encoder.layer.0.lambda_1": "unknown array 'encoder.layer.0.lambda_1'",
}


@pytest.mark.parametrize("key", REFUSED)
def test_relatives_are_refused(tmp_path, key):
    pair = by_hand()
    pair.only(key, D)
    path = save(tmp_path / "x.safetensors", pair.file)
    with pytest.raises(UserError, match=REFUSED[key]):
        hybrid_jax.load_pretrained(path, num_heads=HEADS)


@pytest.mark.parametrize(
    "key",
    [
        "vit.encoder.layer.1.attention.attention.key.bias",
        "vit.embeddings.patch_embeddings.projection.bias",
        "vit.encoder.layer.0.intermediate.dense.weight",
        "vit.layernorm.weight",
    ],
)
def test_file_with_a_hole_is_refused(tmp_path, key):
    pair = by_hand()
    del pair.file[key]
    path = save(tmp_path / "x.safetensors", pair.file)
    with pytest.raises(UserError, match="complete "):
        hybrid_jax.load_pretrained(path, num_heads=HEADS)


def test_numbers_of_the_spec_are_transformers(tmp_path):
    path = save(tmp_path / "x.safetensors", by_hand().file)
    vit = open_published(path, hints=Hints(num_heads=HEADS)).architecture.vit
    assert (vit.depth, vit.num_heads, vit.patch_size) == (DEPTH, HEADS, 8)
    assert (vit.gelu, vit.norm_eps) == ("erf", 1e-12)


@pytest.fixture
def hf_files():
    return pytest.importorskip("hf_files", reason="transformers or torch not installed")


@pytest.mark.parametrize("faint", [False, True])
@pytest.mark.parametrize("way", ["save_pretrained", "state_dict"])
def test_answers_as_transformers_does(tmp_path, hf_files, way, faint):
    config = hf_files.transformers.ViTConfig(**hf_files.VIT)
    theirs = hf_files.transformers.ViTForImageClassification(config)
    hf_files.randomized(theirs, faint=faint)
    path = hf_files.WAYS[way](theirs, tmp_path)
    ours, report = hybrid_jax.load_pretrained(path, num_heads=4)
    assert {row.action for row in report.rows} == {"loaded"}
    batch = hf_files.images(32)
    wanted = hf_files.answer(theirs, batch).logits.numpy()
    assert wanted.std() > 0.1
    np.testing.assert_allclose(ours(batch).logits, wanted, atol=2e-5)


def test_features_are_transformers_without_its_pooler(tmp_path, hf_files):
    config = hf_files.transformers.ViTConfig(**hf_files.VIT)
    theirs = hf_files.randomized(hf_files.transformers.ViTModel(config))
    path = hf_files.saved(theirs, tmp_path)
    ours, report = hybrid_jax.load_pretrained(path, num_heads=4, num_classes=3)
    assert [row.path.split(".")[0] for row in report.where("dropped")] == ["pooler"] * 2
    batch = hf_files.images(32)
    features = ours.backbone(batch)
    wanted = hf_files.answer(theirs, batch).last_hidden_state.numpy()
    np.testing.assert_allclose(features.pooled, wanted[:, 0], atol=2e-5)
    patches = wanted[:, 1:].reshape(features.maps[8].shape)
    np.testing.assert_allclose(features.maps[8], patches, atol=2e-5)
