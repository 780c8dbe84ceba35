"""BatchNorm ResNets: against timm's and torchvision's answers, and a file by hand."""

import batch_norm_files
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints, StoredArray
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.load import leaves_by_path

CLASSES = 5
FORMS = {
    "resnet": dict(blocks=(1, 2), width=8),
    "c": dict(blocks=(2, 1), width=8, deep=True),
    "d": dict(blocks=(1, 1, 2), width=8, deep=True, pooled=True),
}


def by_hand(form):
    file, ours = batch_norm_files.by_hand(**FORMS[form])
    inputs = 4 * 8 * 2 ** (len(FORMS[form]["blocks"]) - 1)
    random = np.random.default_rng(1)
    file["fc.weight"] = random.standard_normal((CLASSES, inputs)).astype(np.float32)
    file["fc.bias"] = random.standard_normal(CLASSES).astype(np.float32)
    ours["head/logits/kernel"] = file["fc.weight"].T
    ours["head/logits/bias"] = file["fc.bias"]
    return file, ours


@pytest.fixture
def written(tmp_path):
    """Writes arrays and returns the path."""

    def write(arrays):
        path = tmp_path / "model.safetensors"
        safetensors.numpy.save_file(arrays, path)
        return path

    return write


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", FORMS)
def test_every_array_goes_to_its_place(written, form, prefix):
    file, ours = by_hand(form)
    path = written({prefix + key: array for key, array in file.items()})
    model, report = hybrid_jax.load_pretrained(path)
    found = leaves_by_path(nnx.to_pure_dict(nnx.state(model)))
    assert set(found) == set(ours)
    for name, array in ours.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    # The counts of batches are no news.
    assert {row.action for row in report.rows} == {"loaded"}


@pytest.mark.parametrize("form", FORMS)
def test_spec_is_told_by_the_arrays(written, form):
    file = open_published(written(by_hand(form)[0]), hints=Hints())
    spec, architecture = file.architecture.resnet, file.architecture
    assert (file.dialect, architecture.fusion) == ("timm_resnet", "resnet")
    assert (spec.blocks, spec.width) == (FORMS[form]["blocks"], 8)
    assert (spec.norm, spec.preactivation) == ("batch", False)
    assert spec.root == ("7x7" if form == "resnet" else "deep")
    assert spec.shortcut == ("pooled" if form == "d" else "strided")
    assert (architecture.vit, architecture.num_classes) == (None, CLASSES)
    images = architecture.preprocessing
    assert (images.normalization, images.eval_crop) == ("imagenet", 0.875)
    assert not images.certain


def test_headless_file_needs_a_number_of_classes(written):
    file, _ = by_hand("d")
    del file["fc.weight"], file["fc.bias"]
    path = written(file)
    with pytest.raises(UserError, match="num_classes="):
        hybrid_jax.load_pretrained(path)
    model, _ = hybrid_jax.load_pretrained(path, num_classes=3)
    assert model.head.logits.kernel.shape == (128, 3)


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("layer1.0.conv3.weight", {}, "basic blocks"),
        ("bn1.running_mean", {}, "not BatchNorms"),
        ("layer2.1.bn2.running_var", {}, "expected an array 'layer2.1.bn2.running_var'"),
        ("", {"layer1.0.se.fc1.weight": (4, 32, 1, 1)}, "'layer1.0.se.fc1.weight'"),
        ("", {"maxpool.0.weight": (8, 8, 3, 3)}, "'maxpool.0.weight'"),
        ("", {"layer2.0.conv2.weight": (16, 4, 3, 3)}, r"expected shape \(16, 16, 3, 3\)"),
        ("", {"layer1.0.conv1.weight": (16, 8, 1, 1)}, r"expected shape \(8, 8, 1, 1\)"),
        ("", {"conv1.weight": (8, 3, 3, 3)}, "another root"),
        ("", {"layer4.0.conv1.weight": (8, 8, 1, 1)}, r"stages .* got \[1, 2, 4\]"),
    ],
)
def test_relatives_are_refused(written, removed, added, message):
    file, _ = by_hand("resnet")
    file.pop(removed, None)
    file |= {key: np.ones(shape, np.float32) for key, shape in added.items()}
    with pytest.raises(UserError, match=message) as caught:
        hybrid_jax.load_pretrained(written(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        dict(layers=(1, 1, 1, 1)),
        dict(layers=(1,) * 4, channels=(16, 32, 64, 128), stem_type="deep", stem_width=8),
        dict(
            layers=(1, 1, 2, 1),
            channels=(16, 32, 64, 128),
            stem_type="deep",
            stem_width=8,
            avg_down=True,
        ),
    ],
    ids=FORMS,
)
def test_logits_are_timm_s(tmp_path, fields):
    files = pytest.importorskip("timm_files")
    resnet = files.timm.models.resnet
    theirs = resnet.ResNet(resnet.Bottleneck, num_classes=10, **fields)
    theirs = batch_norm_files.with_statistics(files.randomized(theirs))
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path)
    assert {row.action for row in report.rows} == {"loaded"}
    for hw in ((64, 64), (75, 93)):  # odd: means of a shortcut at the border
        batch = files.images(hw)
        expected = files.answer(theirs, batch)
        assert expected.std() > 0.1
        np.testing.assert_allclose(model(batch).logits, expected, atol=2e-5)


def test_logits_are_torchvision_s(tmp_path):
    files = pytest.importorskip("timm_files")
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    resnet = torchvision.models.resnet
    theirs = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=10)
    theirs = batch_norm_files.with_statistics(files.randomized(theirs))
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, _ = hybrid_jax.load_pretrained(path)
    batch = files.images((64, 64))
    expected = files.answer(theirs, batch)
    np.testing.assert_allclose(model(batch).logits, expected, atol=2e-5)


READ = ["resnet26", "resnet26d", "resnet50c", "resnet50d", "resnet101", "resnet152d"]
REFUSED = dict(
    resnet18="basic blocks",
    resnet34d="basic blocks",
    resnet26t="another root",
    resnet50s="layer1.0.conv1",
    resnet50_gn="not BatchNorms",
    resnext50_32x4d="ResNeXt",
    wide_resnet50_2="wide ResNet",
    seresnet50="se.fc1",
    ecaresnet50d="se.conv",
)


def architecture_of(name):
    """Returns the architecture of one of timm's models and the model, without numbers."""
    files = pytest.importorskip("timm_files")
    with files.torch.device("meta"):
        model = files.timm.create_model(name, num_classes=10)
    stored = {
        key: StoredArray(tuple(array.shape), np.dtype(np.float32), read=None)
        for key, array in model.state_dict().items()
    }
    knowing = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(stored)]
    assert knowing == ["timm_resnet"]
    dialect = DIALECTS.get("timm_resnet")()
    return dialect.architecture(dialect.tidy(stored), None), model


@pytest.mark.parametrize("name", READ)
def test_models_of_timm_are_read_as_they_are(name):
    architecture, model = architecture_of(name)
    spec = architecture.resnet
    layers = (model.layer1, model.layer2, model.layer3, model.layer4)
    assert spec.blocks == tuple(map(len, layers))
    assert spec.width == model.bn1.num_features == 64
    assert (spec.root == "deep") == hasattr(model.conv1, "__len__")
    pools = len(model.layer2[0].downsample) == 3
    assert (spec.shortcut == "pooled") == pools


@pytest.mark.parametrize("name", REFUSED)
def test_models_of_timm_that_differ_are_refused(name):
    with pytest.raises(UserError, match=REFUSED[name]):
        architecture_of(name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("resnet50", 267), ("resnet50d", 277)])
def test_published_size_gives_timm_s_logits(tmp_path, name, count):
    files = pytest.importorskip("timm_files")
    theirs = files.randomized(files.timm.create_model(name, num_classes=10))
    theirs = batch_norm_files.with_statistics(theirs)
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path)
    assert [row.action for row in report.rows] == ["loaded"] * count
    batch = files.images((224, 224))
    expected = files.answer(theirs, batch)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model(batch).logits, expected, atol=2e-4)
