"""timm's hybrids: against timm's own answers, and against a file written by hand."""

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.load import leaves_by_path

WIDTH, BLOCKS, D, DEPTH, MLP, GRID, CLASSES = 32, (1, 2), 24, 2, 40, 3, 5
BACKBONE = "patch_embed.backbone."


def convolutions(blocks):
    """Yields (our path, timm's name, (out, in, side)) of every convolution and its norm."""
    stem = BACKBONE + ("stem." if blocks else "")
    yield "stem/{}", stem + "{}", (WIDTH, 3, 7)
    inputs = WIDTH
    for s, count in enumerate(blocks):
        middle, outputs = WIDTH * 2**s, 4 * WIDTH * 2**s
        for u in range(count):
            ours, theirs = f"stages/{s}/blocks/{u}/", f"{BACKBONE}stages.{s}.blocks.{u}."
            yield ours + "{}1", theirs + "{}1", (middle, inputs, 1)
            yield ours + "{}2", theirs + "{}2", (middle, middle, 3)
            yield ours + "{}3", theirs + "{}3", (outputs, middle, 1)
            if u == 0:
                down = (outputs, inputs, 1)
                yield ours + "downsample/{}", theirs + "downsample.{}", down
            inputs = outputs


def by_hand(blocks, *, patch):
    """Returns the arrays of a hybrid by timm's names, and what our paths should hold."""
    draw = np.random.default_rng(0).standard_normal
    file, ours = {}, {}

    def both(path, name, shape, axes=None):
        file[name] = draw(shape).astype(np.float32)
        ours[path] = np.transpose(file[name], axes)

    def norm(path, name, size):
        both(f"{path}/scale", f"{name}.weight", (size,))
        both(f"{path}/bias", f"{name}.bias", (size,))

    def linear(path, name, outputs, inputs):
        both(f"{path}/kernel", f"{name}.weight", (outputs, inputs), (1, 0))
        both(f"{path}/bias", f"{name}.bias", (outputs,))

    cells = WIDTH
    for path, name, (outputs, inputs, side) in convolutions(blocks):
        path = f"backbone/resnet/{path}"
        shape = (outputs, inputs, side, side)
        both(
            path.format("conv") + "/kernel",
            name.format("conv") + ".weight",
            shape,
            (2, 3, 1, 0),
        )
        norm(path.format("norm"), name.format("norm"), outputs)
        cells = outputs
    if blocks:
        cells = 4 * WIDTH * 2 ** (len(blocks) - 1)
    shape = (D, cells, patch, patch)
    both("backbone/vit/embed/kernel", "patch_embed.proj.weight", shape, (2, 3, 1, 0))
    both("backbone/vit/embed/bias", "patch_embed.proj.bias", (D,))
    for i in range(DEPTH):
        block, name = f"backbone/vit/blocks/{i}", f"blocks.{i}"
        norm(f"{block}/norm1", f"{name}.norm1", D)
        linear(f"{block}/attn/qkv", f"{name}.attn.qkv", 3 * D, D)
        for part in ("kernel", "bias"):
            at = f"{block}/attn/qkv/{part}"
            ours[at] = ours[at].reshape(*ours[at].shape[:-1], 3, D)
        linear(f"{block}/attn/out", f"{name}.attn.proj", D, D)
        norm(f"{block}/norm2", f"{name}.norm2", D)
        linear(f"{block}/mlp/fc1", f"{name}.mlp.fc1", MLP, D)
        linear(f"{block}/mlp/fc2", f"{name}.mlp.fc2", D, MLP)
    norm("backbone/vit/norm", "norm", D)
    linear("head/logits", "head", CLASSES, D)
    file["cls_token"] = draw((1, 1, D)).astype(np.float32)
    file["pos_embed"] = draw((1, 1 + GRID * GRID, D)).astype(np.float32)
    ours["backbone/vit/cls"] = file["cls_token"][0]
    ours["backbone/vit/cls_position"] = file["pos_embed"][0, :1]
    ours["backbone/vit/position"] = file["pos_embed"][0, 1:].reshape(GRID, GRID, D)
    return file, ours


@pytest.fixture
def written(tmp_path):
    """Writes arrays and returns the path."""

    def write(arrays):
        path = tmp_path / "model.safetensors"
        arrays = {key: np.ascontiguousarray(a) for key, a in arrays.items()}
        safetensors.numpy.save_file(arrays, path)
        return path

    return write


@pytest.mark.parametrize(("blocks", "patch", "stride"), [(BLOCKS, 1, 8), ((), 8, 32)])
def test_every_array_goes_to_its_place(written, blocks, patch, stride):
    file, ours = by_hand(blocks, patch=patch)
    model, report = hybrid_jax.load_pretrained(written(file), num_heads=2)
    found = leaves_by_path(nnx.to_pure_dict(nnx.state(model)))
    assert set(found) == set(ours)
    for path, array in ours.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert not report.where("dropped")
    assert model.backbone.stride == stride


def test_spec_is_timm_s(written):
    architecture = open_published(
        written(by_hand(BLOCKS, patch=1)[0]), hints=Hints(num_heads=2)
    )
    architecture = architecture.architecture
    assert (architecture.fusion, architecture.options) == ("sequential", dict(stride=8))
    resnet, vit = architecture.resnet, architecture.vit
    assert (resnet.blocks, resnet.width, resnet.numerics) == (BLOCKS, WIDTH, "timm")
    assert (resnet.norm, vit.gelu, vit.norm_eps) == ("group", "erf", 1e-6)
    assert (vit.width, vit.depth, vit.num_heads, vit.mlp_dim) == (D, DEPTH, 2, MLP)
    assert vit.position_resize == "bicubic_aa"
    assert architecture.grid == (GRID, GRID)
    assert architecture.num_classes == CLASSES
    assert architecture.preprocessing.normalization == "half"


@pytest.mark.parametrize("key", ["bn1.weight", "layer1.0.conv1.weight", "0.conv.weight"])
def test_other_backbones_are_other_dialects(key):
    stored = {"patch_embed.proj.weight": None, f"{BACKBONE}{key}": None}
    stored["blocks.0.norm1.weight"] = None
    for name in ("timm_hybrid", "timm_vit"):
        assert not DIALECTS.get(name)().recognizes(stored)


def test_wrapped_names_are_unwrapped(written):
    file, ours = by_hand(BLOCKS, patch=1)
    file = {f"module.{key}": array for key, array in file.items()}
    model, _ = hybrid_jax.load_pretrained(written(file), num_heads=2)
    np.testing.assert_array_equal(model.backbone.vit.cls[...], ours["backbone/vit/cls"])


def test_headless_file_needs_a_number_of_classes(written):
    file, _ = by_hand(BLOCKS, patch=1)
    del file["head.weight"], file["head.bias"]
    path = written(file)
    model, report = hybrid_jax.load_pretrained(path, num_heads=2, num_classes=7)
    assert {row.path for row in report.where("new")} == {
        "head/logits/kernel",
        "head/logits/bias",
    }
    assert model.head.logits.kernel.shape == (D, 7)


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("", "patch_embed.backbone.norm.weight", "'patch_embed.backbone.norm.weight'"),
        (
            "patch_embed.backbone.stem.norm.bias",
            "",
            "expected an array 'patch_embed.backbone.st",
        ),
        (
            "patch_embed.backbone.stages.0.blocks.0.downsample.norm.weight",
            "",
            "expected an array",
        ),
        ("blocks.1.attn.qkv.bias", "", "expected an array 'blocks.1.attn.qkv.bias'"),
    ],
)
def test_other_models_of_the_kind_are_refused(written, removed, added, message):
    file, _ = by_hand(BLOCKS, patch=1)
    file.pop(removed, None)
    if added:
        file[added] = np.ones(4, np.float32)
    with pytest.raises(UserError, match=message):
        hybrid_jax.load_pretrained(written(file), num_heads=2)


def test_patches_of_a_last_map_are_refused(written):
    file, _ = by_hand(BLOCKS, patch=2)
    with pytest.raises(UserError, match="patches of 2 cells"):
        hybrid_jax.load_pretrained(written(file), num_heads=2)


@pytest.mark.parametrize(
    ("layers", "patch", "stride"),
    [((1, 1), 1, 8), ((1, 2, 1), 1, 16), ((1, 1, 1, 1), 1, 32), ((), 8, 32)],
)
def test_logits_are_timm_s(tmp_path, layers, patch, stride):
    files = pytest.importorskip("timm_files")
    side = 3 * stride
    theirs = files.hybrid(layers, img_size=side, patch_size=patch)
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path, num_heads=4)
    assert {row.action for row in report.rows} == {"loaded"}
    batch = files.images((side, side))
    expected = files.answer(theirs, batch)
    assert expected.std() > 0.1
    np.testing.assert_allclose(files.ours(model, batch), expected, atol=2e-5)


@pytest.mark.slow
def test_published_size_gives_timm_s_logits(tmp_path):
    files = pytest.importorskip("timm_files")
    theirs = files.randomized(files.timm.create_model("vit_small_r26_s32_224"))
    path = files.save(theirs, tmp_path / "model.safetensors")
    assert len(theirs.state_dict()) == 239
    model, report = hybrid_jax.load_pretrained(path)
    assert {row.action for row in report.rows} == {"loaded"}
    assert sum(row.count for row in report.rows) == 36_431_912
    batch = files.images((224, 224))
    expected = files.answer(theirs, batch)
    np.testing.assert_allclose(files.ours(model, batch), expected, atol=2e-4)
