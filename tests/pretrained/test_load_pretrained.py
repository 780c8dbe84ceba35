"""From a file to a model: the head, other sizes, holes, and where arrays land."""

import dataclasses
import re

import donors
import jax
import numpy as np
import pytest
from donors import arrays_of, donor
from flax import nnx
from google_writer import drawn, shapes
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.ops.positions import resize_grid
from hybrid_jax.pretrained.load import leaves_by_path

HYBRID = dataclasses.replace(donors.HYBRID, depth=1)
PLAIN = dataclasses.replace(donors.PLAIN, depth=2)


@pytest.fixture
def hybrid(tmp_path):
    return donor(tmp_path, HYBRID)


def test_file_alone_makes_the_whole_model(hybrid):
    path, held = hybrid
    model, report = hybrid_jax.load_pretrained(path)
    found = arrays_of(model)
    assert found.keys() == held.keys()
    for name, array in held.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert {row.action for row in report.rows} == {"loaded"}
    assert report.preprocessing.normalization == "half"
    assert model.head.logits.kernel.shape == (48, 5)
    answer = nnx.jit(lambda model, images: model(images).logits)
    assert np.isfinite(answer(model, np.zeros((1, 64, 64, 3), np.float32))).all()


def test_head_of_another_task_starts_at_zero(hybrid):
    path, held = hybrid
    model, report = hybrid_jax.load_pretrained(path, num_classes=3)
    assert not arrays_of(model)["head/logits/kernel"].any()
    rows = {row.path: row for row in report.where("new")}
    assert rows.keys() == {"head/logits/kernel", "head/logits/bias"}
    assert rows["head/logits/kernel"].why == "5 classes in the file"
    np.testing.assert_array_equal(
        arrays_of(model)["backbone/vit/embed/kernel"], held["backbone/vit/embed/kernel"]
    )


def test_new_head_can_be_asked_for_with_as_many_classes(hybrid):
    model, report = hybrid_jax.load_pretrained(hybrid[0], head="new")
    assert not arrays_of(model)["head/logits/kernel"].any()
    assert {row.part for row in report.where("new")} == {"head"}


def test_chosen_classes_take_their_rows_of_the_head(hybrid):
    path, held = hybrid
    model, _ = hybrid_jax.load_pretrained(path, classes=[4, 0])
    found = arrays_of(model)
    for name in ("head/logits/kernel", "head/logits/bias"):
        np.testing.assert_array_equal(found[name], held[name][..., [4, 0]])


def test_positions_are_fitted_to_rectangles_the_way_of_the_library(hybrid):
    path, held = hybrid
    model, report = hybrid_jax.load_pretrained(path, image_size=(96, 160))
    there = held["backbone/vit/position"]
    wanted = resize_grid(there, (3, 5), method="corner_linear")
    np.testing.assert_array_equal(arrays_of(model)["backbone/vit/position"], wanted)
    assert [row.path for row in report.where("resized")] == ["backbone/vit/position"]
    other, _ = hybrid_jax.load_pretrained(
        path, image_size=(96, 160), vit_options=dict(position_resize="bilinear")
    )
    assert np.abs(arrays_of(other)["backbone/vit/position"] - wanted).max() > 1e-2


def test_numerics_are_the_files_unless_overridden(hybrid):
    model, _ = hybrid_jax.load_pretrained(hybrid[0])
    assert model.backbone.resnet.spec.numerics == "vit_jax"
    assert model.backbone.vit.spec.gelu == "tanh"
    model, report = hybrid_jax.load_pretrained(
        hybrid[0],
        resnet_options=dict(numerics="timm"),
        vit_options=dict(drop_path=0.1),
        normalization="imagenet",
    )
    assert report.preprocessing is None, "the caller has said how images are prepared"
    assert model.backbone.resnet.spec.numerics == "timm"
    assert model.backbone.vit.spec.drop_path == 0.1
    assert model.backbone.vit.spec.gelu == "tanh"


def test_missing_array_is_refused_and_the_nearest_key_named(tmp_path):
    file = drawn(shapes(HYBRID))
    file["block2/unit1/conv2/kernal"] = file.pop("block2/unit1/conv2/kernel")
    np.savez(tmp_path / "w.npz", **file)
    expected = (
        "'block2/unit1/conv2/kernel', for backbone/resnet/stages/1/blocks/0/conv2/kernel "
        "(3, 3, 64, 64), is not in it. Did you mean 'block2/unit1/conv2/kernal'?"
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        hybrid_jax.load_pretrained(tmp_path / "w.npz")
    model, report = hybrid_jax.load_pretrained(tmp_path / "w.npz", strict=False)
    (row,) = report.where("new")
    assert row.path == "backbone/resnet/stages/1/blocks/0/conv2/kernel"
    assert arrays_of(model)[row.path].any(), "a new kernel gets its random initial value"
    (row,) = report.where("dropped")
    assert row.path == "block2/unit1/conv2/kernal"


def test_seed_decides_about_what_the_file_lacks(tmp_path):
    file = drawn(shapes(PLAIN))
    del file["Transformer/encoderblock_1/MultiHeadDotProductAttention_0/key/kernel"]
    np.savez(tmp_path / "w.npz", **file)
    expected = (
        "'Transformer/encoderblock_1/MultiHeadDotProductAttention_0/key/kernel', for "
        "backbone/vit/blocks/1/attn/qkv/kernel (48, 3, 48), is not in it."
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        hybrid_jax.load_pretrained(tmp_path / "w.npz")
    one, same, other = (
        arrays_of(hybrid_jax.load_pretrained(tmp_path / "w.npz", strict=False, seed=s)[0])
        for s in (1, 1, 2)
    )
    differing = {name for name, array in one.items() if (array != other[name]).any()}
    assert differing == {"backbone/vit/blocks/1/attn/qkv/kernel"}
    for name, array in one.items():
        np.testing.assert_array_equal(array, same[name], err_msg=name)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_parameters_are_float32_whatever_the_file_has(tmp_path, dtype):
    file = {name: array.astype(dtype) for name, array in drawn(shapes(PLAIN)).items()}
    np.savez(tmp_path / "w.npz", **file)
    found = arrays_of(hybrid_jax.load_pretrained(tmp_path / "w.npz")[0])
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}


def test_wrong_shape_is_refused_with_both_shapes(tmp_path):
    file = drawn(shapes(PLAIN))
    file["Transformer/encoder_norm/scale"] = np.ones(47, np.float32)
    np.savez(tmp_path / "w.npz", **file)
    message = r"'Transformer/encoder_norm/scale' of shape \(48,\), got \(47,\)"
    with pytest.raises(UserError, match=message):
        hybrid_jax.load_pretrained(tmp_path / "w.npz")


def test_array_that_cannot_have_its_shape_is_refused(tmp_path):
    file = drawn(shapes(PLAIN))
    key = "Transformer/posembed_input/pos_embedding"
    file[key] = np.zeros((1, 24, 48), np.float32)
    np.savez(tmp_path / "w.npz", **file)
    with pytest.raises(UserError, match=r"square grid of positions, got 23.*grid="):
        hybrid_jax.load_pretrained(tmp_path / "w.npz")
    with pytest.raises(
        UserError, match=r"expected 24 positions for the grid \(4, 6\), got 23"
    ):
        hybrid_jax.load_pretrained(tmp_path / "w.npz", grid=(4, 6))


def test_poisoned_array_leaves_no_model(tmp_path):
    file = drawn(shapes(PLAIN))
    file["Transformer/encoderblock_1/LayerNorm_1/bias"][7] = np.nan
    np.savez(tmp_path / "w.npz", **file)
    with pytest.raises(UserError, match="encoderblock_1/LayerNorm_1/bias' holds NaN"):
        hybrid_jax.load_pretrained(tmp_path / "w.npz")


def test_unknown_layout_lists_those_known(tmp_path):
    np.savez(tmp_path / "w.npz", something=np.ones(3), other=np.ones(2))
    with pytest.raises(UserError, match=r"none of the known layouts \(.*vit_jax.*other"):
        hybrid_jax.load_pretrained(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(head="keep"), "head: expected 'auto' or 'new', got 'keep'"),
        (dict(classes=[0, 5]), "the file's 5 classes, 0 to 4, got 5"),
        (dict(classes=[0, 1], num_classes=3), "num_classes: expected 2, .* got 3"),
        (dict(fusoin="vit"), "unknown key 'fusoin'. Did you mean 'fusion'?"),
        (dict(resnet_options=dict(norm="batch")), "with norm='group', the model has"),
        (dict(vit_options=dict(layer_scale=0.1)), "layer_scale=0.0, the model has"),
        (
            dict(vit_options=dict(num_register_tokens=2)),
            "num_register_tokens=0, the model has",
        ),
        (dict(fusion="conformer"), "does not fill the model: .* load its halves"),
    ],
)
def test_wrong_arguments_are_refused(hybrid, options, message):
    with pytest.raises(UserError, match=message):
        hybrid_jax.load_pretrained(hybrid[0], **options)


def test_file_without_head_asks_for_the_number_of_classes(tmp_path):
    model = PLAIN.__class__(**{**vars(PLAIN), "classes": 0})
    path, held = donor(tmp_path, model)
    with pytest.raises(UserError, match="no classifier that can be loaded.*num_classes="):
        hybrid_jax.load_pretrained(path)
    built, report = hybrid_jax.load_pretrained(path, num_classes=4)
    assert {row.part for row in report.where("new")} == {"head"}
    np.testing.assert_array_equal(
        arrays_of(built)["backbone/vit/position"], held["backbone/vit/position"]
    )


def test_arrays_land_in_shares_on_the_devices_of_a_mesh(hybrid):
    path, held = hybrid
    mesh = Mesh(np.array(jax.devices()), ("all",))

    def placement(_, shape):
        axes = ["all" if side % 8 == 0 and side > 8 else None for side in shape]
        if "all" in axes:
            first = axes.index("all")
            axes = ["all" if i == first else None for i in range(len(axes))]
        return NamedSharding(mesh, PartitionSpec(*axes))

    model, _ = hybrid_jax.load_pretrained(path, placement=placement, num_classes=16)
    kernel = model.backbone.vit.blocks[0].mlp.fc1.kernel[...]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(6, 80)}
    # The new head, which the file has for 5 classes, lands as the rest does.
    for name, leaf in leaves_by_path(nnx.to_pure_dict(nnx.state(model))).items():
        assert leaf.sharding == placement(name, leaf.shape), name
        if not name.startswith("head/"):
            np.testing.assert_array_equal(leaf, held[name], err_msg=name)
