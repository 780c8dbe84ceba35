"""One model in several files, and what training code puts in front of its names."""

import json
import sys
import types

import numpy as np
import pytest
import safetensors.numpy

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.files import source
from hybrid_jax.pretrained.files.array_file import open_arrays
from hybrid_jax.pretrained.files.published_file import open_published

D = 8


def _vit() -> dict[str, np.ndarray]:
    """Returns a ViT of one block by timm's names."""
    random = np.random.default_rng(0)
    shapes = {
        "cls_token": (1, 1, D),
        "pos_embed": (1, 5, D),
        "patch_embed.proj.weight": (D, 3, 4, 4),
        "patch_embed.proj.bias": (D,),
        "blocks.0.attn.qkv.weight": (3 * D, D),
        "blocks.0.attn.qkv.bias": (3 * D,),
        "blocks.0.attn.proj.weight": (D, D),
        "blocks.0.attn.proj.bias": (D,),
        "blocks.0.mlp.fc1.weight": (2 * D, D),
        "blocks.0.mlp.fc1.bias": (2 * D,),
        "blocks.0.mlp.fc2.weight": (D, 2 * D),
        "blocks.0.mlp.fc2.bias": (D,),
        "head.weight": (3, D),
        "head.bias": (3,),
    }
    norms = ("norm", "blocks.0.norm1", "blocks.0.norm2")
    shapes |= {f"{n}.{kind}": (D,) for n in norms for kind in ("weight", "bias")}
    return {k: random.standard_normal(s).astype(np.float32) for k, s in shapes.items()}


def _shard(folder, arrays) -> dict:
    """Writes two shards and their index; returns the index."""
    names = sorted(arrays)
    where = {
        name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)
    }
    for file in set(where.values()):
        part = {name: arrays[name] for name in names if where[name] == file}
        safetensors.numpy.save_file(part, folder / file)
    index = dict(metadata={}, weight_map=where)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


@pytest.mark.parametrize("named", ["model.safetensors.index.json", ""])
def test_shards_are_read_as_one_file(tmp_path, named):
    arrays = _vit()
    _shard(tmp_path, arrays)
    (tmp_path / "config.json").write_text(
        json.dumps(dict(pretrained_cfg=dict(mean=[0.485, 0.456, 0.406], crop_pct=0.5)))
    )
    file = open_published(tmp_path / named, hints=Hints(num_heads=2))
    assert file.path.parent == tmp_path  # so what lies beside it is found
    assert file.stored.keys() == arrays.keys()
    for name, array in file.stored.items():
        np.testing.assert_array_equal(array.read(), arrays[name])
    model, report = hybrid_jax.load_pretrained(
        tmp_path / named, num_heads=2, normalization="half"
    )
    assert not report.where("new")


def test_one_shard_is_not_a_model(tmp_path):
    _shard(tmp_path, _vit())
    with pytest.raises(UserError, match="one shard .* model.safetensors.index.json"):
        open_arrays(tmp_path / "model-00002-of-00002.safetensors")


def test_missing_shard_is_named(tmp_path):
    _shard(tmp_path, _vit())
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="1 of 2 shards are missing, such as model-00002"):
        open_arrays(tmp_path / "model.safetensors.index.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected the index of sharded weights"),
        ("[]", "expected the index of sharded weights"),
        ('{"weight_map": 3}', "expected the index of sharded weights"),
        ('{"weight_map": {"a": 3}}', "expected the index of sharded weights"),
        ('{"weight_map": {}}', "got none"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "got other paths"),
        ('{"weight_map": {"a": "pytorch_model.bin"}}', "which may run code"),
        ('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', "not hold 'a'"),
    ],
)
def test_index_of_another_form_is_named(tmp_path, content, message):
    _shard(tmp_path, _vit())
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path.name}: .*{message}"):
        open_arrays(path)


def test_sharded_model_of_the_hub_is_fetched_whole(tmp_path, monkeypatch):
    _shard(tmp_path, _vit())
    asked = []

    def hf_hub_download(repository, name):
        asked.append(name)
        if not (tmp_path / name).exists():
            raise FileNotFoundError("404")
        return str(tmp_path / name)

    hub = types.ModuleType("huggingface_hub")
    hub.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    path = source.local_file("hf://owner/name")
    assert path == tmp_path / "model.safetensors.index.json"
    assert {f"model-0000{i}-of-00002.safetensors" for i in (1, 2)} <= set(asked)


@pytest.mark.parametrize(
    "wrapper",
    [
        *("", "module.", "model.", "_orig_mod.", "backbone.", "encoder.", "net."),
        *("module._orig_mod.", "_orig_mod.module.", "module.model.", "model.backbone."),
        *("teacher.backbone.", "student.module.backbone."),
    ],
)
def test_usual_wrappers_are_taken_off(tmp_path, wrapper):
    arrays = _vit()
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({wrapper + k: a for k, a in arrays.items()}, path)
    file = open_published(path, hints=Hints(num_heads=2))
    assert file.dialect == "timm_vit"
    assert file.stored.keys() == arrays.keys()


def test_one_of_two_models_is_chosen(tmp_path):
    arrays, path = _vit(), tmp_path / "a.safetensors"
    both = {f"student.{k}": a for k, a in arrays.items()}
    both |= {f"teacher.backbone.{k}": a + 1 for k, a in arrays.items()}
    safetensors.numpy.save_file(both | {"loss.center": arrays["cls_token"]}, path)
    with pytest.raises(UserError, match=r"'student\.' and 'teacher\.' .* prefix='student'"):
        open_published(path, hints=Hints(num_heads=2))
    for prefix in ("teacher", "teacher.", "teacher.backbone"):
        stored = open_published(path, hints=Hints(num_heads=2, prefix=prefix)).stored
        np.testing.assert_array_equal(stored["cls_token"].read(), arrays["cls_token"] + 1)
    with pytest.raises(UserError, match=r"prefix 'x\.'; they begin with loss\., student\."):
        hybrid_jax.load_pretrained(path, prefix="x")
