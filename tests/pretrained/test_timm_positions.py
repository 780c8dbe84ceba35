"""Files loaded for another image size: positions and answers against timm's and scipy's."""

import numpy as np
import pytest
import scipy.ndimage

import hybrid_jax

POSITION = "backbone/vit/position"
# Image sizes in px, of a file made for 224 px: the published larger one, a rectangle,
# one smaller, and one larger and smaller at once.
SIZES = [(384, 384), (256, 320), (160, 96), (320, 192)]


def resized(report):
    """Returns the paths of what was fitted, once all is accounted for."""
    actions = {row.path: row.action for row in report.rows}
    assert set(actions.values()) <= {"loaded", "resized"}
    return [path for path, action in actions.items() if action == "resized"]


def theirs_at(files, theirs, hw, *, build, **fields):
    """Returns timm's model of another size with a model's weights, loaded timm's way."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    larger = build(img_size=hw, **fields)
    state = checkpoint_filter_fn(dict(theirs.state_dict()), larger)
    larger.load_state_dict(state, strict=True)
    return larger


@pytest.mark.parametrize("hw", SIZES)
def test_positions_are_resampled_as_timm_does(tmp_path, hw):
    files = pytest.importorskip("timm_files")
    theirs = files.plain(img_size=224, patch_size=16, depth=1)
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path, num_heads=4, image_size=hw)
    assert resized(report) == [POSITION]
    grid = [side // 16 for side in hw]
    table = files.timm.layers.resample_abs_pos_embed(theirs.pos_embed.detach(), grid)
    expected = table[0, 1:].reshape(*grid, -1)
    np.testing.assert_allclose(model.backbone.vit.position, expected, atol=1e-5)
    np.testing.assert_array_equal(model.backbone.vit.cls_position, table[0, :1])


@pytest.mark.parametrize("hw", [(56, 40), (24, 72)])
@pytest.mark.parametrize(
    "fields",
    [dict(), dict(init_values=1e-5, no_embed_class=True, reg_tokens=4)],
    ids=["vit", "registers"],
)
def test_vit_of_another_size_answers_as_timm_s(tmp_path, hw, fields):
    files = pytest.importorskip("timm_files")
    theirs = files.plain(**fields)
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path, num_heads=4, image_size=hw)
    assert resized(report) == [POSITION]
    batch = files.images(hw)
    larger = theirs_at(files, theirs, hw, build=files.plain, **fields)
    expected = files.answer(larger, batch)
    np.testing.assert_allclose(files.ours(model, batch), expected, atol=2e-5)
    # A model keeps its positions and fits them to whatever image it sees.
    same, report = hybrid_jax.load_pretrained(path, num_heads=4)
    assert resized(report) == []
    np.testing.assert_allclose(files.ours(same, batch), expected, atol=2e-5)


def test_hybrid_of_another_size_answers_as_timm_s(tmp_path):
    files = pytest.importorskip("timm_files")

    def build(**fields):
        return files.hybrid((1, 1), **fields)

    theirs = build(img_size=48)
    path = files.save(theirs, tmp_path / "model.safetensors")
    model, report = hybrid_jax.load_pretrained(path, num_heads=4, image_size=(32, 80))
    assert resized(report) == [POSITION]
    batch = files.images((32, 80))
    larger = theirs_at(files, theirs, (32, 80), build=build)
    expected = files.answer(larger, batch)
    np.testing.assert_allclose(files.ours(model, batch), expected, atol=2e-5)


def test_google_s_files_are_resized_corner_to_corner(tmp_path):
    path = tmp_path / "model.npz"
    grid = np.random.default_rng(0).standard_normal((4, 4, 6)).astype(np.float32)
    np.savez(path, **google_vit(grid))
    model, report = hybrid_jax.load_pretrained(path, image_size=(14, 10))
    assert resized(report) == [POSITION]
    expected = scipy.ndimage.zoom(grid, (7 / 4, 5 / 4, 1), order=1)
    np.testing.assert_allclose(model.backbone.vit.position, expected, atol=1e-6)


def google_vit(grid, *, patch=2, mlp=8, classes=3):
    """Returns the arrays of a ViT of one block and two heads by the names of 2021."""
    h, w, D = grid.shape
    block, attention = "Transformer/encoderblock_0", "MultiHeadDotProductAttention_1"
    shapes = {"embedding": (patch, patch, 3, D), "head": (D, classes)}
    shapes |= {
        f"{block}/MlpBlock_3/Dense_0": (D, mlp),
        f"{block}/MlpBlock_3/Dense_1": (mlp, D),
    }
    file = {}
    for name, shape in shapes.items():
        file[f"{name}/kernel"], file[f"{name}/bias"] = np.ones(shape), np.ones(shape[-1])
    for name in ("query", "key", "value"):
        file[f"{block}/{attention}/{name}/kernel"] = np.ones((D, 2, D // 2))
        file[f"{block}/{attention}/{name}/bias"] = np.ones((2, D // 2))
    file[f"{block}/{attention}/out/kernel"] = np.ones((2, D // 2, D))
    file[f"{block}/{attention}/out/bias"] = np.ones(D)
    for name in (
        f"{block}/LayerNorm_0",
        f"{block}/LayerNorm_2",
        "Transformer/encoder_norm",
    ):
        file[f"{name}/scale"], file[f"{name}/bias"] = np.ones(D), np.ones(D)
    rows = np.concatenate([np.zeros((1, D)), grid.reshape(h * w, D)])
    file["Transformer/posembed_input/pos_embedding"] = rows[None]
    file["cls"] = np.ones((1, 1, D))
    return {name: array.astype(np.float32) for name, array in file.items()}
