"""DETR of transformers: its own answers, its two spellings, and relatives refused."""

import functools

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from hf_files import WAYS, torch, transformers

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files.array_file import open_arrays
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.load import leaves_by_path

SIZES = dict(
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    num_queries=7,
    num_labels=5,
)
HEADS = 4


@functools.cache
def tiny(named="transformers"):
    """A tiny DETR whose arrays all tell, its ResNet named as in one library or another."""
    if named == "transformers":
        backbone = transformers.ResNetConfig(
            embedding_size=8,
            hidden_sizes=[32, 64, 128, 256],
            depths=[1, 2, 1, 1],
            layer_type="bottleneck",
            out_features=["stage4"],
        )
    else:
        backbone = transformers.TimmBackboneConfig(
            backbone="resnet26", out_indices=[4], use_pretrained_backbone=False
        )
    config = transformers.DetrConfig(backbone_config=backbone, **SIZES)
    model = transformers.DetrForObjectDetection(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, array in model.state_dict().items():
            noise = torch.randn(array.shape, generator=generator)
            if array.ndim > 1:
                array.copy_(noise / array[0].numel() ** 0.5)
            elif name.endswith("weight"):
                array.copy_(1.0 + 0.3 * noise)
            elif name.endswith("var"):
                array.copy_(torch.exp(0.3 * noise))
            else:
                array.copy_(0.3 * noise)
        # Cells and queries far apart: or else all of them say the same.
        model.eval()
        pixels = torch.randn((1, 3, 96, 128), generator=generator)
        maps = model.model.backbone(pixels, torch.ones((1, 96, 128)))[-1][0]
        project = model.model.input_projection
        project.bias.zero_()
        cells = project(maps)[0].flatten(1)
        project.weight.div_(cells.std(1)[:, None, None, None])
        project.bias.copy_(-cells.mean(1) / cells.std(1))
        model.model.query_position_embeddings.weight.mul_(10.0)
    return model


def ours(model):
    graph, state = nnx.split(model)
    run = jax.jit(lambda state, *a: nnx.merge(graph, state)(a[0], content_yxyx_px=a[1]))
    return functools.partial(run, state)


def check_equal(outputs, expected, *, content_hw, frame_hw):
    """Theirs are shares of the content, which lies at the top left; ours of the frame."""
    last = outputs.layers[-1]
    np.testing.assert_allclose(last.logits, expected.logits.numpy(), atol=1e-4)
    scale = np.array([c / f for c, f in zip(content_hw, frame_hw, strict=True)])[::-1]
    boxes = expected.pred_boxes.numpy() * np.tile(scale, 2)
    np.testing.assert_allclose(last.boxes_cxcywh, boxes, atol=1e-4)
    assert boxes.std(1).max() > 5e-3, "all queries say the same: nothing is compared"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("named", ["transformers", "timm"])
def test_answers_are_theirs(tmp_path, named, way):
    theirs = tiny(named)
    path = WAYS[way](theirs, tmp_path)
    loaded, report = hybrid_jax.load_pretrained(path, num_heads=HEADS)
    assert {row.action for row in report.rows} == {"loaded"}
    assert "dialect  hf_detr" in report.notes
    draw = np.random.default_rng(1).standard_normal
    images = draw((2, 96, 128, 3)).astype(np.float32)
    mask = np.zeros((2, 96, 128), np.int64)
    mask[:, :64, :80] = 1
    run = ours(loaded)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        whole, padded = theirs(pixels), theirs(pixels, torch.from_numpy(mask))
    frame = dict(frame_hw=(96, 128))
    check_equal(
        run(images, np.array([[0, 0, 96, 128]] * 2)), whole, content_hw=(96, 128), **frame
    )
    check_equal(
        run(images, np.array([[0, 0, 64, 80]] * 2)), padded, content_hw=(64, 80), **frame
    )
    assert (whole.logits - padded.logits).abs().max() > 1e-2


def test_entries_write_what_they_read(tmp_path):
    path = WAYS["save_pretrained"](tiny(), tmp_path)
    opened = open_published(path, hints=Hints(num_heads=HEADS))
    for entry in opened.entries:
        arrays = [opened.stored[key].read() for key in entry.keys]
        again = entry.codec.write(*entry.codec.read(*arrays))
        for array, written in zip(arrays, again, strict=True):
            np.testing.assert_array_equal(written, array, strict=True)


def test_no_other_dialect_says_yes(tmp_path):
    arrays = open_arrays(WAYS["save_pretrained"](tiny(), tmp_path))
    known = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(arrays)]
    assert known == ["hf_detr"]


def test_the_file_decides_the_sizes(tmp_path):
    path = WAYS["save_pretrained"](tiny(), tmp_path)
    architecture = open_published(path, hints=Hints()).architecture
    assert architecture.head_options["num_heads"] == 1  # of 32 channels
    assert architecture.num_classes == 5
    # A hint is meant for a ViT where the config has one: what cannot be is passed over.
    architecture = open_published(path, hints=Hints(num_heads=12)).architecture
    assert architecture.head_options["num_heads"] == 1
    assert architecture.resnet.blocks == (1, 2, 1, 1)


def test_other_classes_keep_the_boxes_and_chosen_ones_their_rows(tmp_path):
    path = WAYS["save_pretrained"](tiny(), tmp_path)
    _, report = hybrid_jax.load_pretrained(path, num_heads=HEADS, num_classes=9)
    new = {row.path for row in report.where("new")}
    assert new == {f"head/decoder/head/logits/{n}" for n in ("kernel", "bias")}
    chosen, _ = hybrid_jax.load_pretrained(path, num_heads=HEADS, classes=[3, 0])
    leaves = leaves_by_path(nnx.to_pure_dict(nnx.state(chosen)))
    weight = tiny().class_labels_classifier.weight.detach().numpy()
    np.testing.assert_array_equal(
        leaves["head/decoder/head/logits/kernel"], weight[[3, 0, 5]].T
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("model.decoder.layernorm.bias"), "model.decoder.layernorm.bias"),
        (lambda f: f.update({"model.encoder.layernorm.weight": np.ones(32)}), "relative"),
        (lambda f: f.pop("model.decoder.layers.0.fc1.weight"), "not a complete DETR"),
    ],
)
def test_relatives_and_pieces_are_refused(tmp_path, change, message):
    arrays = safetensors.numpy.load_file(WAYS["save_pretrained"](tiny(), tmp_path))
    change(arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "changed.safetensors")
    with pytest.raises(UserError, match=message):
        hybrid_jax.load_pretrained(tmp_path / "changed.safetensors", num_heads=HEADS)
