"""timm's BiT: against timm's own answers, and against a file written by hand."""

import functools

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Architecture, Hints, StoredArray
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.load import leaves_by_path
from hybrid_jax.specs import ResNetSpec

WIDTH, BLOCKS, CLASSES = 32, (1, 2), 5


def by_hand(*, preactivation=True):
    """Returns the arrays by timm's names, and what our paths should hold."""
    random = np.random.default_rng(0)
    file, ours = {}, {}

    def conv(path, name, *shape):
        file[f"{name}.weight"] = random.standard_normal(shape).astype(np.float32)
        kernel = np.einsum("oihw->hwio", file[f"{name}.weight"])
        ours[f"backbone/resnet/{path}/kernel"] = kernel

    def norm(path, name, size):
        for kind, word in (("scale", "weight"), ("bias", "bias")):
            file[f"{name}.{word}"] = random.standard_normal(size).astype(np.float32)
            ours[f"backbone/resnet/{path}/{kind}"] = file[f"{name}.{word}"]

    conv("stem/conv", "stem.conv", WIDTH, 3, 7, 7)
    if not preactivation:
        norm("stem/norm", "stem.norm", WIDTH)
    inputs = WIDTH
    for s, count in enumerate(BLOCKS):
        middle, outputs = WIDTH * 2**s, 4 * WIDTH * 2**s
        for u in range(count):
            path, name = f"stages/{s}/blocks/{u}", f"stages.{s}.blocks.{u}"
            conv(f"{path}/conv1", f"{name}.conv1", middle, inputs, 1, 1)
            conv(f"{path}/conv2", f"{name}.conv2", middle, middle, 3, 3)
            conv(f"{path}/conv3", f"{name}.conv3", outputs, middle, 1, 1)
            if preactivation:
                sizes = {"norm0": inputs, "norm1": middle, "norm2": middle}
            else:
                sizes = {"norm1": middle, "norm2": middle, "norm3": outputs}
            for n, (word, size) in enumerate(sizes.items()):
                norm(f"{path}/{word}", f"{name}.norm{n + 1}", size)
            if u == 0:
                path, name = f"{path}/downsample", f"{name}.downsample"
                conv(f"{path}/conv", f"{name}.conv", outputs, inputs, 1, 1)
                if not preactivation:
                    norm(f"{path}/norm", f"{name}.norm", outputs)
            inputs = outputs
    if preactivation:
        norm("stages/1/blocks/1/final_norm", "norm", inputs)
    for name, shape in (("weight", (CLASSES, inputs, 1, 1)), ("bias", (CLASSES,))):
        file[f"head.fc.{name}"] = random.standard_normal(shape).astype(np.float32)
    ours["head/logits/kernel"] = file["head.fc.weight"][:, :, 0, 0].T
    ours["head/logits/bias"] = file["head.fc.bias"]
    return file, ours


@pytest.fixture
def written(tmp_path):
    """Writes arrays and returns the path."""

    def write(arrays):
        path = tmp_path / "model.safetensors"
        safetensors.numpy.save_file(arrays, path)
        return path

    return write


@pytest.mark.parametrize("preactivation", [True, False])
def test_every_array_goes_to_its_place(written, preactivation):
    file, ours = by_hand(preactivation=preactivation)
    model, report = hybrid_jax.load_pretrained(written(file))
    found = leaves_by_path(nnx.to_pure_dict(nnx.state(model)))
    assert set(found) == set(ours)
    for path, array in ours.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert {row.action for row in report.rows} == {"loaded"}
    assert model.backbone.resnet.spec.preactivation == preactivation


def test_spec_is_timm_s(written):
    file = open_published(written(by_hand()[0]), hints=Hints())
    architecture, spec = file.architecture, file.architecture.resnet
    assert (file.dialect, architecture.fusion) == ("timm_bit", "resnet")
    assert (spec.blocks, spec.width, spec.norm) == (BLOCKS, WIDTH, "group")
    assert (spec.numerics, spec.preactivation) == ("timm", True)
    assert (architecture.vit, architecture.num_classes) == (None, CLASSES)
    assert architecture.preprocessing.normalization == "half"


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("stages.0.blocks.0.conv3.weight", "", "18 or 34"),
        ("", "stages.0.blocks.0.norm1.running_mean", "BatchNorms"),
        ("stem.conv.weight", "stem.conv1.weight", "a deep root"),
        ("norm.weight", "", "expected an array 'norm.weight'"),
        ("", "stages.0.blocks.0.se.fc1.weight", "'stages.0.blocks.0.se.fc1.weight'"),
    ],
)
def test_relatives_are_refused(written, removed, added, message):
    file, _ = by_hand()
    file.pop(removed, None)
    if added:
        file[added] = np.ones(WIDTH, np.float32)
    with pytest.raises(UserError, match=message) as caught:
        hybrid_jax.load_pretrained(written(file))
    assert "\n" not in str(caught.value)


def test_deep_roots_have_no_names():
    spec = ResNetSpec(root="deep", preactivation=True)
    with pytest.raises(UserError, match="root='7x7'.*got root='deep'"):
        DIALECTS.get("timm_bit")().entries(Architecture(fusion="resnet", resnet=spec))


def test_only_its_dialect_knows_it():
    stored = {key: StoredArray(a.shape, a.dtype, None) for key, a in by_hand()[0].items()}
    knowing = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(stored)]
    assert knowing == ["timm_bit"]


def tiny(files, **fields):
    """Returns a tiny BiT of timm with random weights."""
    conv = functools.partial(files.timm.layers.StdConv2d, eps=1e-8)
    fields = dict(stem_type="fixed", conv_layer=conv) | fields
    resnet = files.timm.models.resnetv2.ResNetV2(
        layers=(1, 2, 1, 1),
        channels=(128, 256, 512, 1024),
        stem_chs=32,
        num_classes=10,
        **fields,
    )
    return files.randomized(resnet)


@pytest.mark.parametrize("form", ["bit", "x2", "postactivation"])
def test_logits_are_timm_s(tmp_path, form):
    files = pytest.importorskip("timm_files")
    fields = {"x2": dict(width_factor=2), "bit": {}}.get(form)
    if fields is None:
        same = functools.partial(files.timm.layers.StdConv2dSame, eps=1e-8)
        fields = dict(preact=False, stem_type="same", conv_layer=same)
    theirs = tiny(files, **fields)
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path)
    assert {row.action for row in report.rows} == {"loaded"}
    for hw in ((64, 64), (75, 93)):
        # Dark images: at the border the root's maximum is below the zeros around it.
        batch = files.images(hw) - 1.0
        expected = files.answer(theirs, batch)
        assert expected.std() > 0.1
        np.testing.assert_allclose(model(batch).logits, expected, atol=5e-5)


@pytest.mark.slow
def test_published_size_gives_timm_s_logits(tmp_path):
    files = pytest.importorskip("timm_files")
    theirs = files.randomized(files.timm.create_model("resnetv2_50x1_bit", num_classes=10))
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path)
    assert [row.action for row in report.rows] == ["loaded"] * 153
    assert sum(row.count for row in report.rows) == 25_549_352 - 990 * 2049
    batch = files.images((224, 224))
    expected = files.answer(theirs, batch)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model(batch).logits, expected, atol=2e-4)
