"""DPT's hybrid: against transformers' own maps, and against a file written by hand."""

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

BLOCKS, WIDTH = (1, 2, 1), 32
# Of DPT, and of the classifier it was made from.
DPT = dict(prefix="dpt.", embed="projection", backbone="backbone.bit")
CLASSIFIER = dict(
    prefix="vit.",
    embed="patch_embeddings.projection",
    backbone="patch_embeddings.backbone.bit",
)


def by_hand(*, prefix, embed, backbone, classes=0, patch=1, blocks=BLOCKS, depth=DEPTH):
    pair = Pair(depth=depth)
    at = f"{prefix}embeddings.{backbone}"
    channels = pair.resnet(at, blocks=blocks, width=WIDTH)
    pair.vit(prefix, embed=embed, channels=channels, patch=patch, grid=(3, 3))
    if classes:
        pair.linear("head/logits", "classifier", classes, D)
    return pair


def check_equal(loaded, wanted, *, new=()):
    found = leaves_by_path(nnx.to_pure_dict(nnx.state(loaded)))
    assert sorted(found) == sorted([*wanted, *new])
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("spelling", [dict, renamed])
@pytest.mark.parametrize("prefix", ["dpt.", ""])
def test_fills_every_array_and_drops_neck_and_head(tmp_path, prefix, spelling):
    pair = by_hand(**(DPT | dict(prefix=prefix)))
    beside = ["head.head.0.weight", "neck.convs.0.weight", f"{prefix}pooler.dense.bias"]
    for key in beside:
        pair.only(key, 4, 3)
    path = save(tmp_path / "x.safetensors", spelling(pair.file))
    loaded, report = hybrid_jax.load_pretrained(path, num_heads=HEADS, num_classes=7)
    check_equal(loaded, pair.ours, new=["head/logits/kernel", "head/logits/bias"])
    dropped = sorted(row.path for row in report.where("dropped"))
    assert dropped == sorted(key.removeprefix(prefix) for key in beside)
    assert "dialect  hf_dpt" in report.notes


def test_entries_write_what_they_read(tmp_path):
    path = save(tmp_path / "x.safetensors", by_hand(**DPT).file)
    opened = open_published(path, hints=Hints(num_heads=HEADS))
    for entry in opened.entries:
        arrays = [opened.stored[key].read() for key in entry.keys]
        again = entry.codec.write(*entry.codec.read(*arrays))
        for array, written in zip(arrays, again, strict=True):
            np.testing.assert_array_equal(written, array, strict=True)


def test_classifier_of_the_same_model_is_read(tmp_path):
    pair = by_hand(**CLASSIFIER, classes=CLASSES)
    path = save(tmp_path / "x.safetensors", pair.file)
    loaded, report = hybrid_jax.load_pretrained(path, num_heads=HEADS)
    check_equal(loaded, pair.ours)
    assert {row.action for row in report.rows} == {"loaded"}


@pytest.mark.parametrize("form", [DPT, CLASSIFIER])
def test_file_as_deep_as_the_published_one_is_known_to_one_dialect(tmp_path, form):
    classes = CLASSES if form is CLASSIFIER else 0
    pair = by_hand(**form, classes=classes, blocks=(3, 4, 9), depth=12)
    # As many as Google's own file of the model has.
    assert len(pair.file) == 354 + 2 * bool(classes)
    arrays = open_arrays(save(tmp_path / "x.safetensors", pair.file))
    known = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(arrays)]
    assert known == ["hf_dpt"]


def test_wiring_and_numerics_are_told(tmp_path):
    path = save(tmp_path / "x.safetensors", by_hand(**DPT).file)
    found = open_published(path, hints=Hints(num_heads=HEADS)).architecture
    assert (found.fusion, dict(found.options)) == ("sequential", dict(stride=16))
    assert (found.resnet.blocks, found.resnet.width) == (BLOCKS, WIDTH)
    assert (found.resnet.numerics, found.vit.gelu) == ("timm", "erf")
    assert (found.vit.norm_eps, found.vit.position_resize) == (1e-12, "bilinear")


def test_larger_patches_of_the_map_are_refused(tmp_path):
    path = save(tmp_path / "x.safetensors", by_hand(**DPT, patch=2).file)
    with pytest.raises(UserError, match="embeds patches of 2 cells"):
        hybrid_jax.load_pretrained(path, num_heads=HEADS, num_classes=2)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        # Without norms of its own, a bottleneck is one of the other, true BiT.
        (
            "backbone.bit.embedder.norm",
            "expected an array 'embeddings.backbone.bit.embedder.norm",
        ),
        ("backbone.bit.encoder.stages.1.", r"stages .* got \[0, 2\]"),
        ("layer.1.layernorm_after", "expected an array 'encoder.layer.1.layernorm_after"),
    ],
)
def test_file_with_a_hole_is_refused(tmp_path, gone, message):
    file = {k: a for k, a in by_hand(**DPT).file.items() if gone not in k}
    path = save(tmp_path / "x.safetensors", file)
    with pytest.raises(UserError, match=message):
        hybrid_jax.load_pretrained(path, num_heads=HEADS, num_classes=2)


@pytest.fixture
def hf_files():
    return pytest.importorskip("hf_files", reason="transformers or torch not installed")


@pytest.mark.parametrize("faint", [False, True])
@pytest.mark.parametrize("way", ["save_pretrained", "state_dict"])
def test_maps_and_tokens_are_transformers(tmp_path, hf_files, way, faint):
    config = hf_files.transformers.DPTConfig(**hf_files.DPT)
    theirs = hf_files.randomized(hf_files.transformers.DPTModel(config), faint=faint)
    path = hf_files.WAYS[way](theirs, tmp_path)
    ours, _ = hybrid_jax.load_pretrained(path, num_heads=4, num_classes=3)
    # So dark that the norms' epsilons are heard.
    batch = hf_files.images(64) * (1e-3 if faint else 1.0)
    features, wanted = ours.backbone(batch), hf_files.answer(theirs, batch)
    tokens = wanted.last_hidden_state.numpy()
    assert tokens.std() > 0.1
    np.testing.assert_allclose(features.pooled, tokens[:, 0], atol=2e-5)
    patches = tokens[:, 1:].reshape(features.maps[16].shape)
    np.testing.assert_allclose(features.maps[16], patches, atol=2e-5)
    for stride, theirs_map in zip((4, 8), wanted.intermediate_activations, strict=True):
        wanted_map = theirs_map.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(features.maps[stride], wanted_map, atol=5e-5)


@pytest.mark.parametrize("kind", ["DPTForDepthEstimation", "DPTForSemanticSegmentation"])
def test_whole_estimators_are_read(tmp_path, hf_files, kind):
    config = hf_files.transformers.DPTConfig(**hf_files.DPT)
    theirs = hf_files.randomized(getattr(hf_files.transformers, kind)(config))
    path = hf_files.saved(theirs, tmp_path)
    ours, report = hybrid_jax.load_pretrained(path, num_heads=4, num_classes=3)
    others = {row.path.split(".")[0] for row in report.where("dropped")}
    assert others <= {"neck", "head", "auxiliary_head"}
    batch = hf_files.images(64)
    tokens = hf_files.answer(theirs.dpt, batch).last_hidden_state.numpy()
    np.testing.assert_allclose(ours.backbone(batch).pooled, tokens[:, 0], atol=2e-5)


def test_unseen_size_resizes_positions_as_transformers_does(tmp_path, hf_files):
    config = hf_files.transformers.DPTConfig(**hf_files.DPT)
    theirs = hf_files.randomized(hf_files.transformers.DPTModel(config))
    path = hf_files.saved(theirs, tmp_path)
    ours, _ = hybrid_jax.load_pretrained(path, num_heads=4, num_classes=3, image_size=96)
    embeddings = theirs.embeddings
    table = embeddings._resize_pos_embed(embeddings.position_embeddings, 6, 6)
    wanted = table.detach().numpy()[0, 1:].reshape(6, 6, -1)
    np.testing.assert_allclose(ours.backbone.vit.position[...], wanted, atol=2e-5)
