"""The tanh layer before the classifier of 2020's ViTs, in every layout that has it."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
from donors import arrays_of
from flax import nnx
from google_reference import answer
from google_writer import GoogleModel, drawn, expected, pre_linen, save, shapes, under

import hybrid_jax
from hybrid_jax.config import defaults
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.save import save_pretrained
from hybrid_jax.pretrained.weights import open_weights

PLAIN = GoogleModel(pre_logits=20)  # of another width than the ViT's 32
SAME_WIDTH = dataclasses.replace(PLAIN, pre_logits=PLAIN.width)
HYBRID = dataclasses.replace(PLAIN, blocks=(1, 1), patch=1, grid=(4, 4))
ROOT = dataclasses.replace(PLAIN, positions="grid", at="pos_embedding")
LAYER = {"head/pre_logits/kernel", "head/pre_logits/bias"}


def written(model, folder, *, layout):
    """Writes a random file; returns its path and the arrays by Google's names."""
    file = drawn(shapes(model))
    if layout == "timm":
        path = folder / "model.safetensors"
        safetensors.numpy.save_file(timm_names(model, file), path)
        return path, file
    spelled = under("params/", file) if layout == "big_vision" else pre_linen(file)
    return save(folder / "model.npz", spelled), file


def timm_names(model, file):
    """Returns the arrays of a plain ViT as timm had them until 2022."""
    found = {
        "cls_token": file["cls"],
        "pos_embed": file[model.at],
        "patch_embed.proj.weight": file["embedding/kernel"].transpose(3, 2, 0, 1),
        "patch_embed.proj.bias": file["embedding/bias"],
    }
    names = {"Transformer/encoder_norm": "norm", "pre_logits": "pre_logits.fc"}
    names["head"] = "head"
    for i in range(model.depth):
        theirs, ours = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        at = f"{theirs}/MultiHeadDotProductAttention_0"
        for part, word in (("kernel", "weight"), ("bias", "bias")):
            rows = model.width if part == "kernel" else 1
            qkv = [
                file[f"{at}/{name}/{part}"].reshape(rows, -1).T
                for name in ("query", "key", "value")
            ]
            qkv = np.concatenate(qkv)
            found[f"{ours}.attn.qkv.{word}"] = qkv if part == "kernel" else qkv[:, 0]
        out = file[f"{at}/out/kernel"].reshape(-1, model.width)
        found[f"{ours}.attn.proj.weight"] = out.T
        found[f"{ours}.attn.proj.bias"] = file[f"{at}/out/bias"]
        for n in (0, 1):
            names[f"{theirs}/LayerNorm_{n}"] = f"{ours}.norm{n + 1}"
            names[f"{theirs}/MlpBlock_0/Dense_{n}"] = f"{ours}.mlp.fc{n + 1}"
    for theirs, ours in names.items():
        for part in ("kernel", "scale", "bias"):
            if f"{theirs}/{part}" in file:
                word = "bias" if part == "bias" else "weight"
                found[f"{ours}.{word}"] = file[f"{theirs}/{part}"].T
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def images(model):
    size = (8 * model.grid[0], 8 * model.grid[1])
    return np.random.default_rng(3).standard_normal((2, *size, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("model", "layout"),
    [(PLAIN, "vit_jax"), (HYBRID, "vit_jax"), (ROOT, "big_vision"), (PLAIN, "timm")],
)
def test_answers_as_float64_numpy_does(tmp_path, model, layout):
    path, file = written(model, tmp_path, layout=layout)
    loaded, report = hybrid_jax.load_pretrained(path, num_heads=model.heads)
    ours = expected(model, file)
    assert {row.action for row in report.rows} == {"loaded"}
    assert sorted(arrays_of(loaded)) == sorted(ours)
    assert loaded.head.pre_logits.kernel.shape == (model.width, model.pre_logits)
    batch = images(model)
    gelu = "erf" if layout == "timm" else "tanh"
    wanted = answer(model, ours, batch, gelu=gelu)
    assert wanted.std() > 0.1
    logits = nnx.jit(lambda model, images: model(images).logits)(loaded, batch)
    np.testing.assert_allclose(logits, wanted, atol=2e-5)


@pytest.mark.parametrize("model", [PLAIN, SAME_WIDTH])
def test_new_classifier_stands_on_the_pooled_features(tmp_path, model):
    """Fine-tuning removes the whole head (ViT, 2020, section 3.2)."""
    path, _ = written(model, tmp_path, layout="vit_jax")
    for options in (dict(num_classes=7), dict(head="new")):
        loaded, report = hybrid_jax.load_pretrained(path, **options)
        assert loaded.head.pre_logits is None
        assert loaded.head.logits.kernel.shape[0] == model.width
        assert not np.any(loaded.head.logits.kernel[...])
        assert {row.path for row in report.where("dropped")} == LAYER
    kept = dict(head_options=dict(linear=dict(representation_size=model.pre_logits)))
    loaded, _ = hybrid_jax.load_pretrained(path, num_classes=7, **kept)
    assert np.any(loaded.head.pre_logits.kernel[...])


def test_chosen_classes_keep_the_layer(tmp_path):
    path, file = written(PLAIN, tmp_path, layout="vit_jax")
    loaded, _ = hybrid_jax.load_pretrained(path, classes=[4, 1])
    np.testing.assert_array_equal(
        loaded.head.logits.kernel[...], file["head/kernel"][:, [4, 1]]
    )
    np.testing.assert_array_equal(
        loaded.head.pre_logits.kernel[...], file["pre_logits/kernel"]
    )


def test_layer_without_a_classifier_is_left_out(tmp_path):
    path, file = written(PLAIN, tmp_path, layout="vit_jax")
    del file["head/kernel"], file["head/bias"]
    _, report = hybrid_jax.load_pretrained(save(path, file), num_classes=3)
    dropped = {row.path for row in report.where("dropped")}
    assert dropped == {"pre_logits/kernel", "pre_logits/bias"}


@pytest.mark.parametrize("model", [PLAIN, SAME_WIDTH])
def test_config_that_lacks_the_layer_is_told_of_it(tmp_path, model):
    """As many classes, so the classifier would be lost, or put where it makes no sense."""
    path, file = written(model, tmp_path, layout="vit_jax")
    config = defaults()
    config.model.pretrained = str(path)
    ours = expected(model, file)
    without = dataclasses.replace(model, pre_logits=0)
    bare = expected(without, drawn(shapes(without)))
    for held in (bare, ours):
        targets = {name: array.shape for name, array in held.items()}
        if held is ours:
            fills, _ = open_weights(config.model).match(config.model, targets)
            assert set(fills[0].taken) >= LAYER
            continue
        match = rf"width {model.pre_logits}.*none.*representation_size={model.pre_logits}"
        with pytest.raises(UserError, match=match):
            open_weights(config.model).match(config.model, targets)
        config.model.pretrained_options.head = "new"
        _, report = open_weights(config.model).match(config.model, targets)
        assert "head/logits/kernel" in {row.path for row in report.where("new")}
        config.model.pretrained_options.head = "auto"


def test_model_that_has_a_layer_is_not_given_a_classifier_of_another(tmp_path):
    path, _ = written(GoogleModel(), tmp_path, layout="vit_jax")
    options = dict(linear=dict(representation_size=32))
    with pytest.raises(UserError, match=r"no tanh layer.*one of 32.*size=0"):
        hybrid_jax.load_pretrained(path, head_options=options)


def test_npz_reads_back_and_timm_s_layout_is_refused(tmp_path):
    path, _ = written(PLAIN, tmp_path, layout="vit_jax")
    loaded, _ = hybrid_jax.load_pretrained(path)
    save_pretrained(loaded, tmp_path / "again.npz")
    again, _ = hybrid_jax.load_pretrained(tmp_path / "again.npz")
    before, after = arrays_of(loaded), arrays_of(again)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    with pytest.raises(UserError, match="tanh layer"):
        save_pretrained(loaded, tmp_path / "again.safetensors")
