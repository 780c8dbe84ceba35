"""timm's plain ViTs: against timm's own answers, and against a file written by hand."""

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from shapes_alone import read, stored_of

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.load import leaves_by_path

D, DEPTH, MLP, CLASSES = 24, 2, 40, 5
VIT = "backbone/vit/"

# What of the family a file holds: registers, LayerScale, class token, a row for it.
FORMS = {
    "augreg": dict(),
    "deit3": dict(scaled=True, row=False),
    "dinov2": dict(scaled=True, patch=14),
    "dinov2_reg4": dict(scaled=True, patch=14, registers=4, row=False),
    "mean": dict(cls=False, row=False),
}


def by_hand(*, scaled=False, cls=True, row=True, registers=0, patch=4, grid=(3, 3)):
    """Returns the arrays of a ViT by timm's names, and what our paths should hold."""
    random = np.random.default_rng(0)
    file, ours = {}, {}

    def both(path, name, shape, *, swap=False):
        file[name] = random.standard_normal(shape).astype(np.float32)
        ours[VIT + path] = file[name].swapaxes(0, 1) if swap else file[name]

    def pair(path, name, shape):
        linear = len(shape) == 2
        words = ("kernel", "bias") if linear else ("scale", "bias")
        both(f"{path}/{words[0]}", f"{name}.weight", shape, swap=linear)
        both(f"{path}/{words[1]}", f"{name}.bias", shape[:1])

    both("embed/kernel", "patch_embed.proj.weight", (D, 3, patch, patch))
    ours[VIT + "embed/kernel"] = np.einsum("oihw->hwio", file["patch_embed.proj.weight"])
    both("embed/bias", "patch_embed.proj.bias", (D,))
    for i in range(DEPTH):
        for path, name, shape in (
            ("norm1", "norm1", (D,)),
            ("attn/qkv", "attn.qkv", (3 * D, D)),
            ("attn/out", "attn.proj", (D, D)),
            ("norm2", "norm2", (D,)),
            ("mlp/fc1", "mlp.fc1", (MLP, D)),
            ("mlp/fc2", "mlp.fc2", (D, MLP)),
        ):
            pair(f"blocks/{i}/{path}", f"blocks.{i}.{name}", shape)
        for part in ("kernel", "bias"):
            at = f"{VIT}blocks/{i}/attn/qkv/{part}"
            ours[at] = ours[at].reshape(*ours[at].shape[:-1], 3, D)
        for n in (1, 2) if scaled else ():
            both(f"blocks/{i}/scale{n}/gamma", f"blocks.{i}.ls{n}.gamma", (D,))
    pair("norm", "norm", (D,))
    both("position", "pos_embed", (1, row + grid[0] * grid[1], D))
    table = file["pos_embed"][0]
    ours[VIT + "position"] = table[int(row) :].reshape(*grid, D)
    if cls:
        both("cls", "cls_token", (1, 1, D))
        ours[VIT + "cls"] = file["cls_token"][0]
        ours[VIT + "cls_position"] = table[:1] if row else np.zeros((1, D))
    if registers:
        both("registers", "reg_token", (1, registers, D))
        ours[VIT + "registers"] = file["reg_token"][0]
    for name, shape in (("weight", (CLASSES, D)), ("bias", (CLASSES,))):
        file[f"head.{name}"] = random.standard_normal(shape).astype(np.float32)
    ours["head/logits/kernel"] = file["head.weight"].T
    ours["head/logits/bias"] = file["head.bias"]
    return file, ours


@pytest.fixture
def written(tmp_path):
    """Writes arrays and returns the path."""

    def write(arrays):
        path = tmp_path / "model.safetensors"
        safetensors.numpy.save_file(arrays, path)
        return path

    return write


def arrays_of(model):
    return leaves_by_path(nnx.to_pure_dict(nnx.state(model)))


def ones(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_every_array_goes_to_its_place(written, form):
    file, ours = by_hand(**FORMS[form])
    model, report = hybrid_jax.load_pretrained(written(file), num_heads=2)
    found = arrays_of(model)
    assert set(found) == set(ours)
    for path, array in ours.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert {row.action for row in report.rows} == {"loaded"}


@pytest.mark.parametrize("form", FORMS)
def test_spec_is_timm_s(written, form):
    fields = FORMS[form]
    file = open_published(written(by_hand(**fields)[0]), hints=Hints(num_heads=2))
    vit, architecture = file.architecture.vit, file.architecture
    assert (file.dialect, architecture.fusion) == ("timm_vit", "vit")
    assert (vit.width, vit.depth, vit.num_heads, vit.mlp_dim) == (D, DEPTH, 2, MLP)
    assert (vit.gelu, vit.norm_eps, vit.position_resize) == ("erf", 1e-6, "bicubic_aa")
    assert vit.patch_size == fields.get("patch", 4)
    assert vit.pool == ("cls" if fields.get("cls", True) else "mean")
    assert bool(vit.layer_scale) == fields.get("scaled", False)
    assert vit.num_register_tokens == fields.get("registers", 0)
    assert architecture.grid == (3, 3)
    assert architecture.num_classes == CLASSES
    images = architecture.preprocessing
    assert images.normalization == ("imagenet" if vit.layer_scale else "half")
    assert not images.certain


def test_rectangular_grid_is_said_by_the_caller(written):
    file, ours = by_hand(grid=(2, 5))
    path = written(file)
    with pytest.raises(UserError, match=r"square grid of positions, got 10.*grid="):
        hybrid_jax.load_pretrained(path, num_heads=2)
    model, _ = hybrid_jax.load_pretrained(path, num_heads=2, grid=(2, 5))
    np.testing.assert_array_equal(model.backbone.vit.position, ours[f"{VIT}position"])
    with pytest.raises(UserError, match=r"expected 9 .* the grid \(3, 3\), got 10"):
        hybrid_jax.load_pretrained(path, num_heads=2, grid=(3, 3))


def test_names_of_dinov2_s_authors_are_known(written):
    file, ours = by_hand(scaled=True, patch=14, registers=4)
    file["register_tokens"] = file.pop("reg_token")
    file["mask_token"] = ones(1, D)
    model, report = hybrid_jax.load_pretrained(written(file), num_heads=2)
    assert [row.path for row in report.where("dropped")] == ["mask_token"]
    found = arrays_of(model)
    for path in ("registers", "cls_position", "position"):
        np.testing.assert_array_equal(found[VIT + path], ours[VIT + path])


def test_headless_file_needs_a_number_of_classes(written):
    file, _ = by_hand(scaled=True, patch=14)
    del file["head.weight"], file["head.bias"]
    path = written(file)
    with pytest.raises(UserError, match="num_classes="):
        hybrid_jax.load_pretrained(path, num_heads=2)
    model, _ = hybrid_jax.load_pretrained(path, num_heads=2, num_classes=7)
    assert model.head.logits.kernel.shape == (D, 7)


@pytest.mark.parametrize("form", ["augreg", "mean"])
def test_heads_that_cannot_be_known_are_asked_for(written, form):
    path = written(by_hand(**FORMS[form])[0])
    match = r"width 24.*heads=" + (".*gelu='tanh'" if form == "mean" else "")
    with pytest.raises(UserError, match=match):
        hybrid_jax.load_pretrained(path)


def test_known_width_tells_heads_only_with_a_class_token():
    wider = {D: 192, 3 * D: 576}
    stored = {
        form: stored_of(
            {
                key: [wider.get(side, side) for side in array.shape]
                for key, array in by_hand(**FORMS[form])[0].items()
            }
        )
        for form in ("augreg", "mean")
    }
    assert read(stored["augreg"]).vit.num_heads == 3
    assert read(stored["augreg"], num_heads=6).vit.num_heads == 6
    with pytest.raises(UserError, match=r"width 192.*heads="):
        read(stored["mean"])


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"dist_token": (1, 1, D)}, "'dist_token': a distilled DeiT"),
        ({"head_dist.weight": (5, D)}, "a distilled DeiT"),
        ({"norm_pre.weight": (D,)}, "a norm before the blocks"),
        ({"fc_norm.weight": (D,)}, "a norm after the pooling"),
        ({"attn_pool.latent": (1, 1, D)}, "attention pooling"),
        ({"blocks.0.mlp.w12.weight": (2 * MLP, D)}, "a gated or normed MLP"),
        ({"blocks.1.attn.q_norm.weight": (12,)}, "norms inside the attention"),
        ({"blocks.0.attn.rel_pos_h": (5, 12)}, "relative positions"),
        ({"blocks.0.gamma_1": (D,)}, r"unknown array 'blocks.0.gamma_1' \(24,\)"),
        ({"patch_embed.norm.weight": (D,)}, "'patch_embed.norm.weight'"),
        ({"blocks.0.mlp.fc1.weight": (2 * MLP, D)}, "got 40: a gated MLP"),
        ({"patch_embed.proj.weight": (D, 3, 4, 8)}, "expected square patches"),
        ({"patch_embed.proj.weight": (D, 48)}, "with 4 axes, got"),
        ({"pos_embed": (9, D)}, "with 3 axes, got"),
        ({"blocks.0.ls1.gamma": (D,)}, "expected an array 'blocks.0.ls2.gamma'"),
        ({"blocks.2.norm1.weight": (D,)}, "expected an array 'blocks.2.norm1.bias'"),
    ],
)
def test_relatives_are_refused(added, message):
    shapes = {key: array.shape for key, array in by_hand()[0].items()} | added
    with pytest.raises(UserError, match=message) as caught:
        read(stored_of(shapes), num_heads=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "removed", ["blocks.1.attn.qkv.bias", "norm.weight", "pos_embed", "head.bias"]
)
def test_missing_arrays_are_named(removed):
    shapes = {key: array.shape for key, array in by_hand()[0].items()}
    del shapes[removed]
    with pytest.raises(UserError, match=f"'{removed}'"):
        read(stored_of(shapes), num_heads=2)


@pytest.mark.parametrize(
    "fields",
    [
        dict(),
        dict(embed_dim=192, num_heads=3),
        dict(init_values=1e-5, no_embed_class=True),
        dict(patch_size=14, img_size=56, init_values=1e-5),
        dict(
            patch_size=14, img_size=56, init_values=1e-5, reg_tokens=4, no_embed_class=True
        ),
        dict(class_token=False, global_pool="avg", fc_norm=False),
        dict(
            class_token=False, global_pool="avg", fc_norm=False, reg_tokens=2,
            no_embed_class=True,
        ),
    ],
    ids=["vit", "heads", "deit3", "dinov2", "dinov2_reg4", "mean", "mean_reg"],
)  # fmt: skip
def test_logits_are_timm_s(tmp_path, fields):
    files = pytest.importorskip("timm_files")
    theirs = files.plain(**fields)
    path = files.save(theirs, tmp_path / "model.safetensors")
    heads = None if fields.get("embed_dim") == 192 else theirs.blocks[0].attn.num_heads
    model, report = hybrid_jax.load_pretrained(path, num_heads=heads)
    assert {row.action for row in report.rows} == {"loaded"}
    batch = files.images(theirs.patch_embed.img_size)
    expected = files.answer(theirs, batch)
    assert expected.std() > 0.1
    np.testing.assert_allclose(files.ours(model, batch), expected, atol=2e-5)


@pytest.mark.parametrize(
    "fields", [dict(), dict(init_values=1e-5, patch_size=14, img_size=56)]
)
def test_pooled_features_of_a_headless_file_are_timm_s(tmp_path, fields):
    files = pytest.importorskip("timm_files")
    theirs = files.plain(num_classes=0, **fields)
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, _ = hybrid_jax.load_pretrained(path, num_heads=4, num_classes=3)
    batch = files.images(theirs.patch_embed.img_size)
    expected = files.answer(theirs, batch)
    np.testing.assert_allclose(model.backbone(batch).pooled, expected, atol=5e-5)
