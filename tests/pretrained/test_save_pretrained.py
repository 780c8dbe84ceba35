"""Models written in other libraries' layouts: read back by us, and opened by timm."""

import dataclasses
import json

import donors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from donors import arrays_of, donor
from flax import nnx
from google_writer import shapes

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained import save
from hybrid_jax.pretrained.dialect import Preprocessing
from hybrid_jax.pretrained.files.array_file import open_arrays
from hybrid_jax.pretrained.save import save_pretrained

HYBRID = dataclasses.replace(donors.HYBRID, depth=2)
PLAIN = dataclasses.replace(donors.PLAIN, depth=2)


def resnet(**options):
    """Returns a built ResNet whose every array is random, head included."""
    # Shapes alone: initial values would be computed to be thrown away.
    model = nnx.eval_shape(
        lambda: hybrid_jax.create_model(
            "resnet50",
            num_classes=4,
            image_size=64,
            resnet_options=dict(blocks=(1, 2), width=32) | options,
        )
    )
    rng = np.random.default_rng(5)
    state = nnx.state(model)
    noise = jax.tree.map(lambda x: rng.uniform(0.5, 1.5, x.shape).astype("f"), state)
    nnx.update(model, noise)
    return model


ROOT_ALONE = PLAIN.__class__(**{**vars(PLAIN), "blocks": (), "patch": 8, "grid": (2, 2)})


MEAN = PLAIN.__class__(**{**vars(PLAIN), "pool": "mean", "positions": "grid"})
MODELS = dict(sequential=HYBRID, vit=PLAIN, conv_stem=ROOT_ALONE, mean=MEAN)


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request, tmp_path):
    path, _ = donor(tmp_path, request.param)
    return hybrid_jax.load_pretrained(path)[0]


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_what_is_written_reads_back_the_same(model, tmp_path, kind):
    path = tmp_path / "out" / f"model.{kind}"
    save_pretrained(model, path)
    again, report = hybrid_jax.load_pretrained(path, num_heads=3)
    assert {row.action for row in report.rows} == {"loaded"}
    before, after = arrays_of(model), arrays_of(again)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    assert type(again.backbone) is type(model.backbone)
    assert [file.name for file in path.parent.iterdir() if "tmp" in file.name] == []


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (dict(), "w.safetensors"),
        (dict(root="deep", shortcut="pooled"), "w.safetensors"),
        (dict(norm="group", preactivation=True), "w.safetensors"),
        (dict(norm="group", preactivation=True), "w.npz"),
    ],
)
def test_resnets_alone_read_back_the_same(tmp_path, options, name):
    model = resnet(**options)
    save_pretrained(model, tmp_path / name)
    again, _ = hybrid_jax.load_pretrained(tmp_path / name)
    before, after = arrays_of(model), arrays_of(again)
    assert before.keys() == after.keys()
    for path, array in before.items():
        np.testing.assert_array_equal(after[path], array, err_msg=path)
    assert again.backbone.resnet.spec.preactivation == options.get("preactivation", False)


def test_npz_has_the_keys_and_shapes_that_google_writes(tmp_path):
    model, _ = hybrid_jax.load_pretrained(donor(tmp_path, HYBRID)[0])
    save_pretrained(model, tmp_path / "model.npz")
    stored = open_arrays(tmp_path / "model.npz")
    assert {key: array.shape for key, array in stored.items()} == shapes(HYBRID)


def test_safetensors_are_what_the_library_itself_writes(tmp_path):
    model, _ = hybrid_jax.load_pretrained(donor(tmp_path, PLAIN)[0])
    model.backbone.vit.norm.scale[...] = jnp.full(48, 0.7)
    save_pretrained(model, tmp_path / "out" / "model.safetensors")
    with safetensors.safe_open(tmp_path / "out" / "model.safetensors", "numpy") as file:
        names = file.keys()
        arrays = {name: file.get_tensor(name) for name in names}
        assert file.metadata() == {"format": "pt"}
    kernel = np.asarray(model.backbone.vit.blocks[1].mlp.fc1.kernel)
    np.testing.assert_array_equal(arrays["blocks.1.mlp.fc1.weight"], kernel.T)
    np.testing.assert_array_equal(arrays["norm.weight"], np.full(48, 0.7, "f"))
    safetensors.numpy.save_file(arrays, tmp_path / "theirs")
    ours = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert abs(len(ours) - (tmp_path / "theirs").stat().st_size) < 1000
    assert int.from_bytes(ours[:8], "little") % 8 == 0, "arrays begin at words of 8 bytes"


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_parameters_of_two_bytes_are_written_as_float32(tmp_path, kind):
    model, _ = hybrid_jax.load_pretrained(donor(tmp_path, PLAIN)[0])
    two_bytes = jnp.dtype("bfloat16")
    state = nnx.state(model)
    state = jax.tree.map(lambda x: jnp.asarray(np.asarray(x).astype(two_bytes)), state)
    nnx.update(model, state)
    save_pretrained(model, tmp_path / "out" / f"model.{kind}")
    stored = open_arrays(tmp_path / "out" / f"model.{kind}")
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float32)}
    key = {"npz": "embedding/bias", "safetensors": "patch_embed.proj.bias"}[kind]
    bias = np.asarray(model.backbone.vit.embed.bias, np.float32)
    np.testing.assert_array_equal(stored[key].read(), bias)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_failure_midway_leaves_the_file_as_it_was(tmp_path, kind, monkeypatch):
    model, _ = hybrid_jax.load_pretrained(donor(tmp_path, PLAIN)[0])
    folder = tmp_path / "out"
    path = folder / f"model.{kind}"
    save_pretrained(model, path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    written = save._written

    def broken(*arguments):
        yield next(written(*arguments))
        raise OSError("no space left on device")

    monkeypatch.setattr(save, "_written", broken)
    with pytest.raises(OSError, match="no space left"):
        save_pretrained(model, path)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_description_beside_safetensors_tells_how_images_are_prepared(model, tmp_path):
    images = Preprocessing(
        normalization="imagenet", interpolation="bilinear", eval_crop=0.9
    )
    save_pretrained(model, tmp_path / "out" / "w.safetensors", preprocessing=images)
    card = json.loads((tmp_path / "out" / "config.json").read_text())
    assert card["pretrained_cfg"]["mean"] == [0.485, 0.456, 0.406]
    _, report = hybrid_jax.load_pretrained(tmp_path / "out" / "w.safetensors", num_heads=3)
    assert report.preprocessing == images
    assert "images   normalization 'imagenet', bilinear, crop 0.9" in str(report)


def test_somebody_elses_config_is_never_written_over(tmp_path):
    model, _ = hybrid_jax.load_pretrained(donor(tmp_path, PLAIN)[0])
    (tmp_path / "config.json").write_text('{"train": {"steps": 3}}')
    with pytest.raises(UserError, match="does not describe weights.*another folder"):
        save_pretrained(model, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()
    assert (tmp_path / "config.json").read_text() == '{"train": {"steps": 3}}'


def test_differing_numerics_are_remarked(tmp_path):
    model, _ = hybrid_jax.load_pretrained(donor(tmp_path, HYBRID)[0])
    assert save_pretrained(model, tmp_path / "a" / "model.npz") == ()
    remarks = save_pretrained(model, tmp_path / "a" / "model.safetensors")
    assert remarks[0] == "its ResNet was trained with 'vit_jax' epsilons"
    assert remarks[1] == "its ViT was trained with the 'tanh' GELU"
    assert len(remarks) == 3


def test_what_a_file_cannot_tell_is_remarked(tmp_path):
    dilated = resnet(norm="batch", output_stride=4)
    (remark,) = save_pretrained(dilated, tmp_path / "a" / "w.safetensors")
    assert "build it with output_stride=4" in remark
    assert save_pretrained(resnet(norm="batch"), tmp_path / "a" / "w.safetensors") == ()
    numerics = dict(gelu="erf", norm_eps=1e-12)
    model, _ = hybrid_jax.load_pretrained(donor(tmp_path, MEAN)[0], vit_options=numerics)
    remarks = save_pretrained(model, tmp_path / "a" / "w.safetensors")
    assert remarks[0] == "its ViT was trained with a LayerNorm epsilon of 1e-12"
    assert "class_token=False, global_pool='avg', fc_norm=False" in remarks[2]


_DEEP, _POOLED = dict(root="deep", width=64), dict(shortcut="pooled")
_PRE = dict(preactivation=True)


def small(fusion, **options):
    parts = dict(
        resnet_options=dict(blocks=(1, 1, 1, 1), width=32) | options.pop("resnet", {}),
        vit_options=dict(width=32, depth=2, num_heads=2, mlp_dim=48)
        | options.pop("vit", {}),
    )
    return nnx.eval_shape(
        lambda: hybrid_jax.create_model(
            "r26_vit_b16", num_classes=3, image_size=64, fusion=fusion, **parts
        )
    )


@pytest.mark.parametrize(
    ("fusion", "options", "name", "message"),
    [
        ("conformer", {}, "w.npz", "got 'conformer', which no other library has"),
        ("vit", dict(vit=dict(pool="attention")), "w.npz", "pool='attention'.*workdir"),
        ("vit", dict(vit=dict(positions="rope2d")), "w.safetensors", "='rope2d'.*workdir"),
        ("vit", dict(vit=dict(layer_scale=0.1)), "w.npz", "LayerScale.*as safetensors"),
        ("sequential", dict(resnet=_DEEP), "w.npz", "with GroupNorm, got 'deep'"),
        ("conv_stem", dict(resnet=_DEEP), "w.safetensors", "got 'deep'"),
        ("sequential", dict(resnet=_POOLED), "w.safetensors", "got 'pooled'"),
        ("resnet", dict(resnet=_POOLED | _PRE), "w.npz", "got 'pooled'"),
        (
            "conv_stem",
            dict(resnet=dict(norm="batch")),
            "w.safetensors",
            "only a root with BatchNorm",
        ),
        (
            "vit",
            dict(vit=dict(num_register_tokens=2)),
            "w.npz",
            "registers.*as safetensors",
        ),
        ("resnet", dict(resnet=dict(norm="batch")), "w.npz", "Use the format safetensors"),
        ("sequential", dict(resnet=dict(norm="batch")), "w.npz", "BatchNorm, registers"),
        ("sequential", dict(resnet=_PRE), "w.npz", "pre-activation"),
        ("vit", {}, "w.onnx", "format: expected one of .*got 'onnx'"),
    ],
)
def test_models_without_names_elsewhere_are_refused(
    tmp_path, fusion, options, name, message
):
    with pytest.raises(UserError, match=message):
        save_pretrained(small(fusion, **options), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_only_classifiers_are_exported(tmp_path):
    model = nnx.eval_shape(
        lambda: hybrid_jax.create_model(
            "tiny",
            num_classes=3,
            image_size=32,
            head="linear_pixels",
            head_options={"linear_pixels": {"strides": (4,)}},
        )
    )
    with pytest.raises(
        UserError, match="expected a classifier .* got head 'linear_pixels'"
    ):
        save_pretrained(model, tmp_path / "w.npz")
    assert not list(tmp_path.iterdir())
