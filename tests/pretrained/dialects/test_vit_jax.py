"""The layout of ViT and AugReg: against an independent writer, timm and float64 numpy."""

import dataclasses

import numpy as np
import pytest
from flax import nnx
from google_reference import answer
from google_writer import (
    GoogleModel,
    drawn,
    expected,
    four_axes,
    pre_linen,
    save,
    shapes,
    under,
)

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.pretrained.dialect import Hints, StoredArray
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.fill import match
from hybrid_jax.pretrained.load import leaves_by_path, native_size
from hybrid_jax.pretrained.model_branch import model_branch

PLAIN = GoogleModel()
HYBRID = GoogleModel(blocks=(2, 1), patch=1, grid=(4, 4))
ROOT_ALONE = GoogleModel(blocks=(), patch=2, grid=(3, 3))
PX = 8  # per token and side, of all three

logits_of = nnx.jit(lambda model, images: model(images).logits)

SPELLINGS = {
    "Linen": lambda file: file,
    "before Linen": pre_linen,
    "2020": lambda file: four_axes(pre_linen(file)),
    "training state": lambda file: under(
        "opt/target/", pre_linen(file), **{"opt/state/step": np.int32(7)}
    ),
    "params": lambda file: under("params/", file),
}


def images(model, *, seed=3):
    """Returns two images of the size that a file is made for."""
    draw = np.random.default_rng(seed).standard_normal
    return draw((2, PX * model.grid[0], PX * model.grid[1], 3)).astype(np.float32)


def arrays_of(model):
    return leaves_by_path(nnx.to_pure_dict(nnx.state(model)))


def check_filled(path, model, file):
    """Every array of the model is the one the writer says, and no other was made up."""
    loaded, report = hybrid_jax.load_pretrained(path)
    wanted, found = expected(model, file), arrays_of(loaded)
    assert sorted(found) == sorted(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert {row.action for row in report.rows} == {"loaded"}
    return loaded


@pytest.mark.parametrize(
    ("model", "spelling"),
    [
        *((HYBRID, spelling) for spelling in SPELLINGS),
        (PLAIN, "before Linen"),
        (ROOT_ALONE, "2020"),
    ],
)
def test_fills_every_array_from_every_spelling(tmp_path, model, spelling):
    file = drawn(shapes(model))
    check_filled(save(tmp_path / "x.npz", SPELLINGS[spelling](file)), model, file)


@pytest.mark.parametrize("model", [PLAIN, HYBRID, ROOT_ALONE])
def test_entries_write_what_they_read(tmp_path, model):
    path = save(tmp_path / "x.npz", drawn(shapes(model)))
    opened = open_published(path, hints=Hints())
    for entry in opened.entries:
        arrays = [opened.stored[key].read() for key in entry.keys]
        again = entry.codec.write(*entry.codec.read(*arrays))
        for array, written in zip(arrays, again, strict=True):
            np.testing.assert_array_equal(written, array, strict=True)


@pytest.mark.parametrize(
    ("model", "pool"),
    [(PLAIN, "cls"), (PLAIN, "mean"), (HYBRID, "cls"), (ROOT_ALONE, "cls")],
)
def test_answers_as_float64_numpy_does(tmp_path, model, pool):
    if pool == "mean":
        model = dataclasses.replace(model, pool="mean", positions="grid")
    file = drawn(shapes(model))
    loaded = check_filled(save(tmp_path / "x.npz", pre_linen(file)), model, file)
    batch = images(model)
    wanted = answer(model, expected(model, file), batch)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(logits_of(loaded, batch), wanted, atol=2e-5)


@pytest.mark.parametrize("model", [PLAIN, HYBRID])
def test_epsilons_are_those_of_vit_jax(tmp_path, model):
    """Of numbers so small that the epsilons are heard."""
    file = drawn(shapes(model))
    for key, array in file.items():
        if key.startswith(("conv_root", "block")) and key.endswith("kernel"):
            file[key] = array * np.float32(1e-4)
        if key.startswith(("embedding", "cls")) or "pos_embedding" in key:
            file[key] = array * np.float32(1e-3)
    loaded, _ = hybrid_jax.load_pretrained(save(tmp_path / "x.npz", file))
    batch = images(model) * np.float32(1e-3)
    wanted = answer(model, expected(model, file), batch)
    np.testing.assert_allclose(logits_of(loaded, batch), wanted, atol=2e-5)


def test_grid_that_is_no_square_is_asked_for(tmp_path):
    model = dataclasses.replace(PLAIN, grid=(2, 4))
    file = drawn(shapes(model))
    path = save(tmp_path / "x.npz", file)
    with pytest.raises(UserError, match=r"square grid of positions, got 8.*grid="):
        hybrid_jax.load_pretrained(path)
    loaded, _ = hybrid_jax.load_pretrained(path, grid=(2, 4))
    wanted = expected(model, file)["backbone/vit/position"]
    np.testing.assert_array_equal(loaded.backbone.vit.position[...], wanted)


def test_patches_that_are_no_squares_are_refused(tmp_path):
    file = drawn(shapes(PLAIN))
    file["embedding/kernel"] = file["embedding/kernel"].reshape(-1, PLAIN.width)
    with pytest.raises(UserError, match=r"expected \(side.*got \(192, 32\)"):
        hybrid_jax.load_pretrained(save(tmp_path / "x.npz", file))


# Published: arrays of the file, and the model it must be recognized as.
WIDE = dict(root=64, width=768, heads=12, mlp=3072, depth=12, classes=21_843)
SMALL = WIDE | dict(width=384, heads=6, mlp=1536)
PUBLISHED = {
    "R_Ti_16": (
        203,
        GoogleModel(
            **(WIDE | dict(width=192, heads=3, mlp=768)), blocks=(), patch=8, grid=(7, 7)
        ),
    ),
    "R26_S_32": (287, GoogleModel(**SMALL, blocks=(2, 2, 2, 2), patch=1, grid=(7, 7))),
    "R26_B_32": (287, GoogleModel(**WIDE, blocks=(2, 2, 2, 2), patch=1, grid=(7, 7))),
    "R50_B_16": (356, GoogleModel(**WIDE, blocks=(3, 4, 9), patch=1, grid=(14, 14))),
    "R50_L_32": (
        551,
        GoogleModel(
            **(WIDE | dict(width=1024, heads=16, mlp=4096, depth=24)),
            blocks=(3, 4, 6, 3),
            patch=1,
            grid=(12, 12),
        ),
    ),
    "R26_B_16": (284, GoogleModel(**WIDE, blocks=(2, 2, 4), patch=1, grid=(14, 14))),
    "B_16": (200, GoogleModel(**WIDE, patch=16, grid=(14, 14))),
}


def unread(shape):
    def read():
        raise AssertionError("names and shapes tell all that is asked for here")

    return StoredArray(shape, np.dtype(np.float32), read)


@pytest.mark.parametrize("name", PUBLISHED)
def test_full_size_file_has_a_place_for_every_array(name):
    count, model = PUBLISHED[name]
    stored = {key: unread(shape) for key, shape in pre_linen(shapes(model)).items()}
    assert len(stored) == count
    dialect = DIALECTS.get("vit_jax")()
    known = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(stored)]
    assert known == ["vit_jax"]
    tidied = dialect.tidy(stored)
    architecture = dialect.architecture(tidied, Hints())
    entries = dialect.entries(architecture)
    assert sorted(key for entry in entries for key in entry.keys) == sorted(tidied)
    side = {"R50_L_32": 384}.get(name, 224)
    assert native_size(architecture) == (side, side)
    abstract = nnx.eval_shape(
        lambda: build_model(
            model_branch(architecture, dtype="float32"),
            num_classes=architecture.num_classes,
            image_size=(side, side),
            rngs=nnx.Rngs(0),
        )
    )
    targets = {path: leaf.shape for path, leaf in arrays_of(abstract).items()}
    report = match(tidied, entries, targets, resize="corner_linear").report
    assert {row.action for row in report.rows} == {"loaded"}


@pytest.mark.parametrize("model", [PLAIN, HYBRID, ROOT_ALONE])
def test_answers_as_timm_does_with_the_same_file(tmp_path, model):
    timm_files = pytest.importorskip("timm_files", reason="timm or torch not installed")
    fields = dict(
        embed_dim=model.width,
        depth=model.depth,
        num_heads=model.heads,
        mlp_ratio=model.mlp / model.width,
        num_classes=model.classes,
        patch_size=model.patch,
        img_size=images(model).shape[1],
    )
    if model.blocks is None:
        theirs = timm_files.plain(**fields)
    else:
        # Its ResNets have 64 channels at the root.
        model = dataclasses.replace(model, root=64)
        theirs = timm_files.hybrid(model.blocks, **fields)
    path = save(tmp_path / "x.npz", pre_linen(drawn(shapes(model))))
    theirs.load_pretrained(str(path))
    ours, _ = hybrid_jax.load_pretrained(
        path, resnet_options=dict(numerics="timm"), vit_options=dict(gelu="erf")
    )
    batch = images(model)
    wanted = timm_files.answer(theirs, batch)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(ours(batch).logits, wanted, atol=2e-5)
