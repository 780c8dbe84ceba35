"""DPT-hybrid that segments: transformers' own logits, and relatives refused."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from hf_files import DPT, WAYS, answer, images, randomized, torch, transformers

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.files.published_file import open_published

K = 5


def tiny(**options):
    """A tiny DPT-hybrid whose arrays all tell, the running statistics too."""
    config = transformers.DPTConfig(**(DPT | options))
    model = randomized(transformers.DPTForSemanticSegmentation(config))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, array in model.named_buffers():
            noise = 0.3 * torch.randn(array.shape, generator=generator)
            if name.endswith("running_mean"):
                array.copy_(noise)
            elif name.endswith("running_var"):
                array.copy_(torch.exp(noise))
        # Order one at the end of every residual sum, so that no level drowns the others.
        for name, array in model.named_parameters():
            if "residual_layer" in name and name.endswith("weight") and array.ndim == 4:
                array.mul_(0.5)
            if name.endswith("head.1.weight"):
                array.add_(1.0)
    return model


def run(model, batch):
    graph, state = nnx.split(model)
    return jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, batch)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("normed", [True, False])
def test_logits_are_transformers(tmp_path, way, normed):
    theirs = tiny(use_batch_norm_in_fusion_residual=normed)
    ours, report = hybrid_jax.load_pretrained(WAYS[way](theirs, tmp_path), num_heads=4)
    assert not report.where("new")
    dropped = {row.path for row in report.where("dropped")}
    assert all("fusion_stage.layers.0.residual_layer1" in path for path in dropped)
    batch = images(64)
    wanted = answer(theirs, batch).logits.permute(0, 2, 3, 1).numpy()
    out = run(ours, batch)
    assert out.logits.shape == wanted.shape == (2, 64, 64, K)
    assert wanted.std((1, 2)).min() > 0.05
    np.testing.assert_allclose(out.logits, wanted, atol=1e-4)
    assert out.stride == 1


def test_every_level_is_heard():
    """A decoder of one level would pass for one of four if the others said nothing."""
    model, batch = tiny(), images(64)
    before = answer(model, batch).logits
    for conv in model.neck.convs:
        kernel = conv.weight.detach().clone()
        with torch.no_grad():
            conv.weight.zero_()
        assert (answer(model, batch).logits - before).abs().max() > 0.05
        with torch.no_grad():
            conv.weight.copy_(kernel)


def test_second_reading_is_loaded_where_there_is_one(tmp_path):
    with_one = WAYS["save_pretrained"](tiny(), tmp_path)
    file = safetensors.numpy.load_file(with_one)
    ours, _ = hybrid_jax.load_pretrained(with_one, num_heads=4)
    np.testing.assert_array_equal(
        ours.head.auxiliary.conv.norm.mean[...], file["auxiliary_head.head.1.running_mean"]
    )
    bare = {key: a for key, a in file.items() if not key.startswith("auxiliary_head")}
    safetensors.numpy.save_file(bare, tmp_path / "bare.safetensors")
    ours, report = hybrid_jax.load_pretrained(tmp_path / "bare.safetensors", num_heads=4)
    assert ours.head.auxiliary is None
    assert not report.where("new")


def test_other_classes_begin_with_a_new_classifier_alone(tmp_path):
    path = WAYS["save_pretrained"](tiny(), tmp_path)
    ours, report = hybrid_jax.load_pretrained(path, num_heads=4, num_classes=3)
    new = {row.path for row in report.where("new")}
    ends = {"logits/kernel", "logits/bias"}
    assert new == {f"head/{a}{b}" for a in ("", "auxiliary/") for b in ends}
    assert ours.head.logits.bias.shape == (3,)


def test_entries_write_what_they_read(tmp_path):
    opened = open_published(
        WAYS["save_pretrained"](tiny(), tmp_path), hints=Hints(num_heads=4)
    )
    assert opened.dialect == "hf_dpt"
    for entry in opened.entries:
        arrays = [opened.stored[key].read() for key in entry.keys]
        again = entry.codec.write(*entry.codec.read(*arrays))
        for array, written in zip(arrays, again, strict=True):
            np.testing.assert_array_equal(written, array, strict=True)


def test_published_model_of_twelve_blocks_has_its_taps(tmp_path):
    theirs = tiny(num_hidden_layers=12, backbone_out_indices=[0, 1, 8, 11])
    path = WAYS["save_pretrained"](theirs, tmp_path)
    architecture = open_published(path, hints=Hints(num_heads=4)).architecture
    assert (architecture.head, architecture.num_classes) == ("dpt", K)
    assert architecture.head_options["taps"] == (8, 11)
    assert architecture.head_options["reassemble_channels"] == (32, 32)


@pytest.mark.parametrize(
    ("gone", "more", "message"),
    [
        ("neck.convs.2", None, "expected an array 'neck.convs.2.weight' of a hybrid"),
        (
            "neck.reassemble_stage.layers.3.projection",
            None,
            "expected an array 'neck.reassemble",
        ),
        (None, "neck.convs.4.weight", "another decoder than the head 'dpt'"),
    ],
)
def test_relatives_and_holes_are_refused(tmp_path, gone, more, message):
    file = safetensors.numpy.load_file(WAYS["save_pretrained"](tiny(), tmp_path))
    file = {k: a for k, a in file.items() if gone is None or gone not in k}
    if more:
        file[more] = np.zeros((3, 3), np.float32)
    safetensors.numpy.save_file(file, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=message):
        hybrid_jax.load_pretrained(tmp_path / "x.safetensors", num_heads=4)
