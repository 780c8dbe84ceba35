"""timm's hybrids with BatchNorm: against timm's answers, and a file by hand."""

import functools

import batch_norm_files
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints, StoredArray
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.load import leaves_by_path

D, MLP, GRID, CLASSES = 40, 100, 3, 5
BACKBONE = "patch_embed.backbone."
FORM = dict(blocks=(1, 2), width=8, deep=True, pooled=True)


def by_hand():
    """Returns the arrays by timm's names, and what our paths should hold."""
    file, ours = batch_norm_files.by_hand(prefix=BACKBONE, **FORM)
    random = np.random.default_rng(1)

    def linear(path, name, outputs, inputs):
        file[f"{name}.weight"] = random.standard_normal((outputs, inputs), np.float32)
        file[f"{name}.bias"] = random.standard_normal(outputs, np.float32)
        ours[f"{path}/kernel"] = file[f"{name}.weight"].T
        ours[f"{path}/bias"] = file[f"{name}.bias"]

    def norm(path, name):
        for kind, word in (("scale", "weight"), ("bias", "bias")):
            file[f"{name}.{word}"] = random.standard_normal(D, np.float32)
            ours[f"{path}/{kind}"] = file[f"{name}.{word}"]

    linear("backbone/vit/embed", "patch_embed.proj", D, 64)
    ours["backbone/vit/embed/kernel"] = ours["backbone/vit/embed/kernel"][None, None]
    file["patch_embed.proj.weight"] = file["patch_embed.proj.weight"][:, :, None, None]
    norm("backbone/vit/blocks/0/norm1", "blocks.0.norm1")
    linear("backbone/vit/blocks/0/attn/qkv", "blocks.0.attn.qkv", 3 * D, D)
    for part in ("kernel", "bias"):
        at = f"backbone/vit/blocks/0/attn/qkv/{part}"
        ours[at] = ours[at].reshape(*ours[at].shape[:-1], 3, D)
    linear("backbone/vit/blocks/0/attn/out", "blocks.0.attn.proj", D, D)
    norm("backbone/vit/blocks/0/norm2", "blocks.0.norm2")
    linear("backbone/vit/blocks/0/mlp/fc1", "blocks.0.mlp.fc1", MLP, D)
    linear("backbone/vit/blocks/0/mlp/fc2", "blocks.0.mlp.fc2", D, MLP)
    norm("backbone/vit/norm", "norm")
    linear("head/logits", "head", CLASSES, D)
    file["cls_token"] = random.standard_normal((1, 1, D), np.float32)
    file["pos_embed"] = random.standard_normal((1, 1 + GRID**2, D), np.float32)
    ours["backbone/vit/cls"] = file["cls_token"][0]
    ours["backbone/vit/cls_position"] = file["pos_embed"][0, :1]
    ours["backbone/vit/position"] = file["pos_embed"][0, 1:].reshape(GRID, GRID, D)
    return file, ours


@pytest.fixture
def written(tmp_path):
    """Writes arrays and returns the path."""

    def write(arrays):
        path = tmp_path / "model.safetensors"
        safetensors.numpy.save_file(arrays, path)
        return path

    return write


def test_every_array_goes_to_its_place(written):
    file, ours = by_hand()
    model, report = hybrid_jax.load_pretrained(written(file), num_heads=2)
    found = leaves_by_path(nnx.to_pure_dict(nnx.state(model)))
    assert set(found) == set(ours)
    for path, array in ours.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert {row.action for row in report.rows} == {"loaded"}
    assert model.backbone.stride == 8


def test_only_its_dialect_knows_it():
    stored = {key: StoredArray(a.shape, a.dtype, None) for key, a in by_hand()[0].items()}
    knowing = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(stored)]
    assert knowing == ["timm_hybrid_bn"]


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        (f"{BACKBONE}layer1.0.conv3.weight", {}, "basic blocks"),
        ("", {f"{BACKBONE}layer1.0.se.fc1.weight": (4,)}, "se.fc1.weight"),
        (
            f"{BACKBONE}layer2.1.bn1.bias",
            {},
            "expected an array 'patch_embed.backbone.layer2.1",
        ),
        ("", {"patch_embed.proj.weight": (D, 64, 2, 2)}, "patches of 2 cells"),
    ],
)
def test_relatives_are_refused(written, removed, added, message):
    file, _ = by_hand()
    file.pop(removed, None)
    file |= {key: np.ones(shape, np.float32) for key, shape in added.items()}
    with pytest.raises(UserError, match=message) as caught:
        hybrid_jax.load_pretrained(written(file), num_heads=2)
    assert "\n" not in str(caught.value)


def test_logits_are_timm_s(tmp_path):
    files = pytest.importorskip("timm_files")
    backbone = files.timm.create_model(
        "resnet26d",
        layers=(1, 2, 1, 1),
        channels=(16, 32, 64, 128),
        stem_width=8,
        features_only=True,
        out_indices=[3],
    )
    embed = functools.partial(files.HybridEmbed, backbone=backbone)
    theirs = files.plain(img_size=48, patch_size=1, embed_layer=embed)
    batch_norm_files.with_statistics(theirs)
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path, num_heads=4)
    assert {row.action for row in report.rows} == {"loaded"}
    batch = files.images((48, 48))
    expected = files.answer(theirs, batch)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model(batch).logits, expected, atol=5e-5)


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("vit_small_resnet26d_224", 32),
        ("vit_small_resnet50d_s16_224", 16),
        ("vit_base_resnet50d_224", 32),
    ],
)
def test_models_of_timm_are_read_as_they_are(name, stride):
    files = pytest.importorskip("timm_files")
    with files.torch.device("meta"):
        model = files.timm.create_model(name, num_classes=10)
    stored = {
        key: StoredArray(tuple(array.shape), np.dtype(np.float32), read=None)
        for key, array in model.state_dict().items()
    }
    dialect = DIALECTS.get("timm_hybrid_bn")()
    architecture = dialect.architecture(dialect.tidy(stored), Hints())
    assert architecture.options == dict(stride=stride)
    assert architecture.grid == model.patch_embed.grid_size
    assert architecture.preprocessing.normalization == "imagenet"
    resnet, vit = architecture.resnet, architecture.vit
    assert (resnet.width, resnet.root, resnet.shortcut) == (64, "deep", "pooled")
    assert vit.num_heads == model.blocks[0].attn.num_heads
    assert (vit.width, vit.depth) == (768, len(model.blocks))
