"""Google's BiT files: by hand, and the same net in two dialects."""

import functools

import numpy as np
import pytest
from flax import nnx

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints, StoredArray
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.load import leaves_by_path

WIDTH, BLOCKS, CLASSES = 32, (2, 1), 5


def by_hand(conv="standardized_conv2d"):
    """Returns the arrays by Google's names, and what our paths should hold."""
    random = np.random.default_rng(0)
    file, ours = {}, {}

    def kernel(path, name, *shape):
        file[f"resnet/{name}/kernel"] = random.standard_normal(shape).astype(np.float32)
        ours[f"backbone/resnet/{path}/kernel"] = file[f"resnet/{name}/kernel"]

    def norm(path, name, size):
        for kind, word in (("scale", "gamma"), ("bias", "beta")):
            key = f"resnet/{name}group_norm/{word}"
            file[key] = random.standard_normal(size).astype(np.float32)
            ours[f"backbone/resnet/{path}/{kind}"] = file[key]

    kernel("stem/conv", f"root_block/{conv}", 7, 7, 3, WIDTH)
    inputs = WIDTH
    for s, count in enumerate(BLOCKS):
        middle, outputs = WIDTH * 2**s, 4 * WIDTH * 2**s
        for u in range(count):
            path, name = f"stages/{s}/blocks/{u}", f"block{s + 1}/unit0{u + 1}"
            kernel(f"{path}/conv1", f"{name}/a/{conv}", 1, 1, inputs, middle)
            kernel(f"{path}/conv2", f"{name}/b/{conv}", 3, 3, middle, middle)
            kernel(f"{path}/conv3", f"{name}/c/{conv}", 1, 1, middle, outputs)
            for n, size in enumerate((inputs, middle, middle)):
                norm(f"{path}/norm{n}", f"{name}/{'abc'[n]}/", size)
            if u == 0:
                proj = f"{name}/a/proj/{conv}"
                kernel(f"{path}/downsample/conv", proj, 1, 1, inputs, outputs)
            inputs = outputs
    norm("stages/1/blocks/0/final_norm", "", inputs)
    head = random.standard_normal((1, 1, inputs, CLASSES)).astype(np.float32)
    file["resnet/head/conv2d/kernel"] = head
    file["resnet/head/conv2d/bias"] = random.standard_normal(CLASSES).astype(np.float32)
    ours["head/logits/kernel"] = head[0, 0]
    ours["head/logits/bias"] = file["resnet/head/conv2d/bias"]
    return file, ours


@pytest.fixture
def written(tmp_path):
    """Writes arrays and returns the path."""

    def write(arrays):
        path = tmp_path / "model.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.mark.parametrize("conv", ["standardized_conv2d", "standardized_conv2d_17"])
def test_every_array_goes_to_its_place(written, conv):
    file, ours = by_hand(conv)
    model, report = hybrid_jax.load_pretrained(
        written(file | {"global_step": np.array(10_000)})
    )
    found = leaves_by_path(nnx.to_pure_dict(nnx.state(model)))
    assert set(found) == set(ours)
    for path, array in ours.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert {row.action for row in report.rows} == {"loaded"}


def test_spec_is_google_s(written):
    file = open_published(written(by_hand()[0]), hints=Hints())
    architecture, spec = file.architecture, file.architecture.resnet
    assert (file.dialect, architecture.fusion) == ("bit", "resnet")
    assert (spec.blocks, spec.width, spec.norm) == (BLOCKS, WIDTH, "group")
    assert (spec.numerics, spec.preactivation) == ("vit_jax", True)
    assert (architecture.vit, architecture.num_classes) == (None, CLASSES)
    assert architecture.preprocessing.normalization == "half"


def test_codecs_write_what_they_read(written):
    file, _ = by_hand()
    published = open_published(written(file), hints=Hints())
    for entry in published.entries:
        arrays = [file[key] for key in entry.keys]
        for key, array in zip(
            entry.keys, entry.codec.write(*entry.codec.read(*arrays)), strict=True
        ):
            np.testing.assert_array_equal(array, file[key], err_msg=key)
    assert {key for entry in published.entries for key in entry.keys} == set(file)


def test_no_other_dialect_knows_it():
    stored = {key: StoredArray(a.shape, a.dtype, None) for key, a in by_hand()[0].items()}
    knowing = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(stored)]
    assert knowing == ["bit"]


def test_missing_array_is_named(written):
    file, _ = by_hand()
    del file["resnet/block1/unit02/b/group_norm/beta"]
    with pytest.raises(
        UserError, match="expected an array 'resnet/block1/unit02/b/group_norm/beta"
    ):
        hybrid_jax.load_pretrained(written(file))


def test_timm_s_own_reader_makes_the_same_net_of_it(written):
    files = pytest.importorskip("timm_files")
    theirs = files.timm.models.resnetv2.ResNetV2(
        layers=BLOCKS,
        channels=(128, 256),
        stem_chs=WIDTH,
        stem_type="fixed",
        conv_layer=functools.partial(files.timm.layers.StdConv2d, eps=1e-8),
        num_classes=CLASSES,
    ).eval()
    file, _ = by_hand()
    path = written(file)
    theirs.load_pretrained(path)
    batch = files.images((75, 64))
    expected = files.answer(theirs, batch)
    model, _ = hybrid_jax.load_pretrained(path)
    assert expected.std() > 0.1
    # The two libraries' epsilons differ, and do not matter beside kernels of order one.
    np.testing.assert_allclose(model(batch).logits, expected, atol=2e-4, rtol=2e-5)
