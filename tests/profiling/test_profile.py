"""`--mode=profile` and `describe`: published figures, XLA's, and nothing allocated."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import optax
import pytest
from published_counts import COUNTS
from small_run import small_config

import hybrid_jax
from hybrid_jax.config import defaults
from hybrid_jax.data.placeholder_source import StandIn
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.hybrid import build_model, create_model
from hybrid_jax.profiling import profile as profile_file
from hybrid_jax.profiling.description import Attention
from hybrid_jax.profiling.memory_estimate import ResidualBytes
from hybrid_jax.profiling.profile import describe, profile
from hybrid_jax.programs.flop_count import Product
from hybrid_jax.train.measuring.forward_pass import trace_forward
from hybrid_jax.train.state import make_init, merge_model

# name -> GMAC of one image, 1000 classes, computed from the layers' sizes.
GMAC_224 = {
    "r_vit_ti16": 0.43,
    "r26_vit_s32": 3.46,
    "r26_vit_b32": 6.71,
    "r50_vit_b16": 21.54,
    "r26_vit_b16": 19.79,
    "vit_s16": 4.60,
    "vit_b16": 17.56,
}
GMAC_384 = {"r26_vit_s32": 10.26, "r26_vit_b16": 62.02, "vit_b16": 55.48}


@pytest.fixture
def without_memory(monkeypatch):
    """Leaves out the slowest half of a description."""
    nothing = ResidualBytes(per_image=0)
    monkeypatch.setattr(profile_file, "residual_bytes", lambda *_, **__: nothing)


@pytest.fixture
def thousand_classes(monkeypatch):
    monkeypatch.setattr(
        profile_file, "train_split_or_placeholder", lambda _: (StandIn(), "")
    )


def named(name, *, size, **changes):
    config = defaults(name)
    config.data.image_size = size
    with config.ignore_type():
        config.update_from_flattened_dict(changes)
    return config


# A small hybrid, one that keeps the stride of its ViT, and a ViT alone: what else is named
# is made of the same layers.
KINDS = ("r_vit_ti16", "r50_vit_b16", "vit_s16")


@pytest.mark.usefixtures("without_memory", "thousand_classes")
@pytest.mark.parametrize(
    "name",
    [
        name if name in KINDS else pytest.param(name, marks=pytest.mark.slow)
        for name in GMAC_224
    ],
)
def test_figures_at_224_are_the_published_ones(name):
    found = describe(named(name, size=224))
    assert found.total_params == COUNTS[name][0]
    assert found.params["resnet"] == COUNTS[name][2]
    assert round(found.total_macs / 1e9, 2) == GMAC_224[name]


@pytest.mark.usefixtures("without_memory", "thousand_classes")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("r26_vit_s32", marks=pytest.mark.slow),
        pytest.param("r26_vit_b16", marks=pytest.mark.slow),
        "vit_b16",
    ],
)
def test_macs_at_384_are_the_published_ones(name):
    found = describe(named(name, size=384))
    assert round(found.total_macs / 1e9, 2) == GMAC_384[name]


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize(
    ("name", "size", "resnet"),
    [
        # Wide, so that products outweigh norms; large, because XLA leaves padding out.
        ("resnet50", 768, dict(width=128, blocks=(1, 1, 1, 1))),
        ("r26_vit_b16", 512, dict(width=128, blocks=(1, 1, 1, 1))),
        ("vit_b16", 224, {}),
    ],
)
def test_total_agrees_with_xla(name, size, resnet):
    config, vit = named(name, size=size), dict(depth=2)
    config.model.resnet_options.update(resnet)
    config.model.vit_options.update(vit)
    graph, _, shapes = make_init(
        lambda _: create_model(
            name,
            num_classes=10,
            image_size=size,
            resnet_options=resnet,
            vit_options=vit,
        ),
        optax.identity(),
        averaged=False,
    )

    def forward(params, mutable, images):
        return merge_model(graph, params, mutable)(images).logits

    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    lowered = jax.jit(forward).lower(shapes.params, shapes.mutable, images)
    flops = lowered.cost_analysis()["flops"]
    assert 2 * describe(config).total_macs == pytest.approx(flops, rel=0.02)


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize("name", FUSIONS.names())
def test_every_fusion_is_described(name):
    config = named("tiny", size=64, **{"model.fusion": name})
    config.model.resnet_options.update(blocks=(1, 1, 1), width=32)
    config.model.vit_options.update(width=48, depth=1, num_heads=3, mlp_dim=80)
    found = describe(config)
    parts = FUSIONS.get(name).parts
    for part in ("resnet", "vit"):
        assert (found.params[part] > 0) == (part in parts)
        assert (found.macs[part] > 0) == (part in parts)
    assert set(found.model) == {"fusion", *parts, "head"}
    assert bool(found.attention) == ("vit" in parts or name == "botnet")
    assert not found.notes
    assert max(map(len, str(found).splitlines())) <= 92


def test_parts_are_told_apart():
    width, depth, tokens, patch = 64, 2, 17, 16
    config = named("vit_s16", size=64)
    config.model.vit_options.update(
        width=width, depth=depth, num_heads=2, mlp_dim=4 * width
    )
    found = describe(config)
    layers = depth * tokens * 12 * width**2 + (tokens - 1) * patch**2 * 3 * width
    assert found.macs["vit"] == layers
    assert found.macs["attention"] == depth * 2 * tokens**2 * width
    assert found.macs["head"] == 10 * width
    assert found.macs["resnet"] == found.macs["fusion"] == 0
    assert found.attention == (Attention(queries=tokens, keys=tokens, times=depth),)
    assert found.maps == {16: (4, 4, width)}
    assert found.pooled == width


def test_attention_pooling_is_a_sequence_of_its_own():
    config = named("vit_s16", size=(64, 96))
    config.model.vit_options.update(
        width=64, depth=3, num_heads=2, mlp_dim=64, pool="attention"
    )
    assert describe(config).attention == (Attention(24, 24, 3), Attention(1, 24, 1))


def test_attention_is_logits_and_a_sum_over_their_keys():
    image = frozenset({"images"})
    logits = Product(1, 3, image, image, batch=(1, 2), free=(9, 5), contracted=8)
    values = dataclasses.replace(logits, free=(8, 9), contracted=5)
    assert profile_file._attentions([logits, values]) == (Attention(9, 5, times=3),)
    for wrong in (
        dict(contracted=6),
        dict(free=(7, 9)),
        dict(batch=()),
        dict(left=frozenset(), right=frozenset({"vit"})),
    ):
        other = dataclasses.replace(values, **wrong)
        assert profile_file._attentions([logits, other]) == ()


def test_resizing_is_a_row_of_its_own_and_positions_are_the_vit():
    config = named("vit_s16", size=64)
    config.model.vit_options.update(width=64, depth=1, num_heads=2, mlp_dim=64)
    config.model.dtype = "float32"
    graph, _, shapes = make_init(
        lambda rngs: build_model(
            config.model, num_classes=10, image_size=(32, 32), rngs=rngs
        ),
        optax.identity(),
        averaged=False,
    )
    _, flow = trace_forward(graph, shapes, image_size=(64, 64))
    resizing = [p for p in flow.products if "images" not in p.left | p.right]
    assert resizing  # of the 2x2 learned grid to 4x4
    assert {profile_file._part(p.left, p.right) for p in resizing} == {"vit"}
    constant, images = frozenset(), frozenset({"images"})
    assert profile_file._part(images, constant) == "constants"
    assert profile_file._part(images, frozenset({"vit", "resnet"})) == "fusion"


def test_nothing_is_allocated():
    before = sum(x.nbytes for x in jax.live_arrays())
    wide = dict(width=1024, depth=3, num_heads=2, mlp_dim=4096)
    options = {f"model.vit_options.{key}": value for key, value in wide.items()}
    found = describe(named("vit_s16", size=32, **options))
    assert found.total_params > 3e7
    assert sum(x.nbytes for x in jax.live_arrays()) - before < 1000


def test_profile_prints_the_description(capsys, tmp_path):
    found = profile(small_config(), str(tmp_path / "run"))
    assert capsys.readouterr().out == f"{found}\n"
    assert not (tmp_path / "run").exists()
    assert str(hybrid_jax.describe(small_config())) == str(found)


def test_dict_is_json_with_the_totals():
    found = describe(small_config())
    fields = json.loads(json.dumps(found.as_dict()))
    assert fields == found.as_dict()
    assert fields["total_params"] == sum(fields["params"].values()) == found.total_params
    assert fields["total_macs"] == found.total_macs > 0
    assert fields["maps"]["4"] == [4, 4, 32]
    assert fields["memory"]["total"] == found.memory.total


def test_memory_follows_mesh_and_accumulation():
    usual = describe(small_config({"train.batch_size": 64}))  # on the eight of the tests
    assert usual.devices == dict(data=8, fsdp=1, tensor=1)
    assert usual.images_per_device == 8
    split = describe(small_config({"train.batch_size": 64, "train.accumulate": 4}))
    assert split.images_per_device == 2
    saved = usual.memory.activations - split.memory.activations
    assert saved == 6 * usual.bytes_per_image


def test_mesh_may_have_more_devices_than_there_are_here():
    options = {"model.vit_options.depth": 1, "model.vit_options.width": 768}
    many = {"mesh.data": 16, "mesh.fsdp": 4, "train.batch_size": 640}
    found = describe(named("vit_s16", size=64, **options, **many))
    alone = {"mesh.data": 1, "train.batch_size": 10}
    one = describe(named("vit_s16", size=64, **options, **alone))
    assert found.images_per_device == one.images_per_device == 10
    assert found.memory.activations == one.memory.activations
    assert 0.25 < found.memory.parameters / one.memory.parameters < 0.26
    assert " MiB per image, 10 images at a time.\n" in str(found)
    assert "Devices: 64 (data 16, fsdp 4, tensor 1)." in str(found)


def test_missing_data_is_a_note_and_not_an_error():
    found = describe(small_config({"data.name": "folder:/nowhere", "train.epochs": 2.0}))
    assert found.num_classes == 1000
    (note,) = found.notes
    assert note.startswith("described with 1000 classes, because data 'folder:/nowhere'")
    assert f"note: {note}" in str(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.image_size": 2}, "image_size: expected 4 px or more"),
        ({"data.name": "digit"}, "Did you mean 'digits'?"),
        ({"model.fusion": "sequental"}, "unknown fusion 'sequental'. Did you mean"),
        ({"model.head": "liner"}, "unknown head 'liner'. Did you mean 'linear'?"),
        ({"mesh.data": 3}, "8 rows cannot be spread evenly over the 3 data-parallel"),
        ({"mesh.data": 0}, "config.mesh: data=0, fsdp=1, tensor=1 does not cover"),
        ({"train.batch_size": -8}, "config.train.batch_size: expected a positive number"),
    ],
    ids=str,
)
def test_mistake_is_one_message(changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        describe(small_config(changes))


def test_path_in_place_of_a_config_is_refused():
    with pytest.raises(UserError, match=r"expected a config.* got 'configs/tiny.py'"):
        describe("configs/tiny.py")
