"""big_vision's layout: against an independent writer, timm and float64 numpy."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from google_reference import answer
from google_writer import (
    GoogleModel,
    drawn,
    expected,
    pre_linen,
    save,
    scanned,
    shapes,
    under,
)

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.pretrained.dialect import Hints, StoredArray
from hybrid_jax.pretrained.dialects import DIALECTS
from hybrid_jax.pretrained.files import published_file
from hybrid_jax.pretrained.files.array_file import open_arrays
from hybrid_jax.pretrained.fill import match
from hybrid_jax.pretrained.load import leaves_by_path
from hybrid_jax.pretrained.model_branch import model_branch

TOKEN = GoogleModel(positions="grid", at="pos_embedding", depth=3)
MEAN = dataclasses.replace(TOKEN, pool="mean")
MAP = dataclasses.replace(TOKEN, pool="attention")
FIXED = dataclasses.replace(MEAN, positions="none")
FIXED_TOKEN = dataclasses.replace(TOKEN, positions="none")
# "Widely used before 2022": one table with the class token's row, in the encoder.
OLD = dataclasses.replace(TOKEN, positions="with cls", at="Transformer/pos_embedding")
EVERY = dict(token=TOKEN, mean=MEAN, map=MAP, fixed=FIXED, fixed_token=FIXED_TOKEN, old=OLD)
BESIDE = {
    "params/txt/pos_embedding": np.ones((1, 4, 8), np.float32),
    "params/txt/Encoder_0/encoderblock_0/LayerNorm_0/scale": np.ones(8, np.float32),
    "params/t": np.ones(1, np.float32),
}
SPELLINGS = {
    "bare": lambda file: file,
    "params": lambda file: under("params/", file, **{"opt/0/count": np.int32(3)}),
    "scanned": lambda file: under("params/", scanned(file, depth=3)),
    "before Linen": lambda file: under("opt/target/", pre_linen(file)),
}


def images(model, *, seed=3):
    """Returns two images of the size that a file is made for."""
    size = (model.patch * model.grid[0], model.patch * model.grid[1])
    draw = np.random.default_rng(seed).standard_normal
    return draw((2, *size, 3)).astype(np.float32)


def arrays_of(model):
    return leaves_by_path(nnx.to_pure_dict(nnx.state(model)))


def check_equal(loaded, wanted, *, except_for=()):
    found = arrays_of(loaded)
    assert sorted(set(found) - set(except_for)) == sorted(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def load_like(model, path, **options):
    """Loads a file, told its size where it holds no table that would tell."""
    if model.positions == "none":
        options["image_size"] = images(model).shape[1:3]
    return hybrid_jax.load_pretrained(path, **options)


# One model in every spelling, and every model in one; the pool's names have spellings too.
@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        *(("token", spelling) for spelling in SPELLINGS),
        ("mean", "bare"),
        ("map", "scanned"),
        ("map", "before Linen"),
        ("fixed", "params"),
        ("fixed_token", "scanned"),
        ("old", "before Linen"),
    ],
)
def test_fills_every_array_from_every_spelling(tmp_path, name, spelling):
    model = EVERY[name]
    file = drawn(shapes(model))
    path = save(tmp_path / "x.npz", SPELLINGS[spelling](file))
    loaded, report = load_like(model, path)
    check_equal(loaded, expected(model, file))
    assert {row.action for row in report.rows} == {"loaded"}
    assert "dialect  big_vision" in report.notes


@pytest.mark.parametrize("name", EVERY)
def test_entries_write_what_they_read(tmp_path, name):
    path = save(tmp_path / "x.npz", drawn(shapes(EVERY[name])))
    opened = published_file.open_published(path, hints=Hints())
    for entry in opened.entries:
        arrays = [opened.stored[key].read() for key in entry.keys]
        again = entry.codec.write(*entry.codec.read(*arrays))
        for array, written in zip(arrays, again, strict=True):
            np.testing.assert_array_equal(written, array, strict=True)


@pytest.mark.parametrize("name", EVERY)
def test_answers_as_float64_numpy_does(tmp_path, name):
    model = EVERY[name]
    file = drawn(shapes(model))
    loaded, _ = load_like(model, save(tmp_path / "x.npz", under("params/", file)))
    batch = images(model)
    wanted = answer(model, expected(model, file), batch)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(loaded(batch).logits, wanted, atol=2e-5)


def test_image_tower_is_taken_and_its_projection_left(tmp_path):
    file = drawn(shapes(MAP))
    path = save(tmp_path / "x.npz", under("params/img/", file, **BESIDE))
    loaded, report = hybrid_jax.load_pretrained(path, num_classes=7)
    wanted = {k: v for k, v in expected(MAP, file).items() if k.startswith("backbone")}
    check_equal(loaded, wanted, except_for=["head/logits/kernel", "head/logits/bias"])
    assert loaded.head.logits.kernel.shape == (MAP.width, 7)
    dropped = [row.path for row in report.where("dropped")]
    assert dropped == ["img/head/kernel", "img/head/bias"]


def test_attention_pool_that_stands_at_the_root_is_found(tmp_path):
    file = drawn(shapes(MAP))
    inlined = {key.removeprefix("MAPHead_0/"): array for key, array in file.items()}
    loaded, _ = hybrid_jax.load_pretrained(save(tmp_path / "x.npz", inlined))
    check_equal(loaded, expected(MAP, file))


def test_bfloat16_as_raw_bytes_is_read(tmp_path):
    file = {k: a.astype(ml_dtypes.bfloat16) for k, a in drawn(shapes(TOKEN)).items()}
    path = save(tmp_path / "x.npz", under("params/", scanned(file, depth=3)))
    with np.load(path) as raw:
        assert {raw[key].dtype for key in raw.files} == {np.dtype("V2")}
    loaded, _ = hybrid_jax.load_pretrained(path)
    wanted = expected(TOKEN, file)
    check_equal(loaded, {k: a.astype(np.float32) for k, a in wanted.items()})


def test_every_stack_is_read_once(tmp_path, monkeypatch):
    model = dataclasses.replace(MAP, depth=6)
    file = scanned(drawn(shapes(model)), depth=6)
    path = save(tmp_path / "x.npz", under("params/", file))
    reads = []

    def counted(key, array):
        def read():
            reads.append(key)
            return array.read()

        return dataclasses.replace(array, read=read)

    def open_counted(source):
        return {key: counted(key, a) for key, a in open_arrays(source).items()}

    monkeypatch.setattr(published_file, "open_arrays", open_counted)
    hybrid_jax.load_pretrained(path)
    assert sorted(reads) == sorted(f"params/{key}" for key in file)


@pytest.mark.parametrize("model", [TOKEN, OLD])
def test_grid_that_is_no_square_is_asked_for(tmp_path, model):
    model = dataclasses.replace(model, grid=(2, 3))
    file = drawn(shapes(model))
    path = save(tmp_path / "x.npz", under("params/", file))
    with pytest.raises(UserError, match=r"square grid of positions.*grid="):
        hybrid_jax.load_pretrained(path)
    loaded, _ = hybrid_jax.load_pretrained(path, grid=(2, 3))
    check_equal(loaded, expected(model, file))


def test_patches_that_are_no_squares_are_refused(tmp_path):
    file = drawn(shapes(MAP))
    file["embedding/kernel"] = file["embedding/kernel"].reshape(-1, MAP.width)
    with pytest.raises(UserError, match=r"expected \(side.*got \(192, 32\)"):
        hybrid_jax.load_pretrained(save(tmp_path / "x.npz", under("params/", file)))


WIDE = dict(width=768, heads=12, mlp=3072, depth=12, patch=16, grid=(14, 14))
PUBLISHED = {
    "B_16, class token": (200, dataclasses.replace(TOKEN, **WIDE)),
    "B_16, attention": (214, dataclasses.replace(MAP, **WIDE)),
    "B_16, sines and mean": (198, dataclasses.replace(FIXED, **WIDE)),
}


def unread(shape):
    def read():
        raise AssertionError("names and shapes tell all that is asked for here")

    return StoredArray(shape, np.dtype(np.float32), read)


@pytest.mark.parametrize(
    ("name", "stacked"), [*((name, False) for name in PUBLISHED), ("B_16, attention", True)]
)
def test_full_size_file_has_a_place_for_every_array(name, stacked):
    count, model = PUBLISHED[name]
    listed = shapes(model)
    if stacked:
        block = "Transformer/encoderblock_0/"
        stacks = {k: s for k, s in listed.items() if k.startswith(block)}
        listed = {k: s for k, s in listed.items() if "encoderblock" not in k}
        count += len(stacks) - 12 * len(stacks)
        for key, shape in stacks.items():
            listed[key.replace("block_0", "block")] = (12, *shape)
    stored = {f"params/{key}": unread(shape) for key, shape in listed.items()}
    assert len(stored) == count
    dialect = DIALECTS.get("big_vision")()
    known = [n for n in DIALECTS.names() if DIALECTS.get(n)().recognizes(stored)]
    assert known == ["big_vision"]
    tidied = dialect.tidy(stored)
    architecture = dialect.architecture(tidied, Hints())
    entries = dialect.entries(architecture)
    assert sorted(key for entry in entries for key in entry.keys) == sorted(tidied)
    abstract = nnx.eval_shape(
        lambda: build_model(
            model_branch(architecture, dtype="float32"),
            num_classes=model.classes,
            image_size=(224, 224),
            rngs=nnx.Rngs(0),
        )
    )
    targets = {path: leaf.shape for path, leaf in arrays_of(abstract).items()}
    report = match(tidied, entries, targets, resize="corner_linear").report
    assert {row.action for row in report.rows} == {"loaded"}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (TOKEN, dict(no_embed_class=True)),
        (MEAN, dict(global_pool="avg", fc_norm=False, class_token=False)),
        (MAP, dict(global_pool="map", class_token=False)),
    ],
)
@pytest.mark.parametrize("stacked", [False, True])
def test_answers_as_timm_does_with_the_same_file(tmp_path, model, fields, stacked):
    timm_files = pytest.importorskip("timm_files", reason="timm or torch not installed")
    file = drawn(shapes(model))
    file = scanned(file, depth=model.depth) if stacked else file
    path = save(tmp_path / "x.npz", under("params/", file))
    theirs = timm_files.plain(
        img_size=images(model).shape[1],
        embed_dim=model.width,
        depth=model.depth,
        num_heads=model.heads,
        mlp_ratio=model.mlp / model.width,
        num_classes=model.classes,
        **fields,
    )
    theirs.load_pretrained(str(path))
    ours, _ = hybrid_jax.load_pretrained(path, vit_options=dict(gelu="erf"))
    batch = images(model)
    wanted = timm_files.answer(theirs, batch)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(ours(batch).logits, wanted, atol=2e-5)
