"""Either half of any fusion comes from a file of its own: tried over the registry."""

import numpy as np
import pytest
import small_fusion
from donors import HYBRID, PLAIN, donor, shapes_of

from hybrid_jax.config import defaults
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.pretrained.weights import open_weights


@pytest.fixture(scope="module")
def donors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("donors")
    resnet = donor(folder, HYBRID, name="resnet.npz", seed=1)
    vit = donor(folder, PLAIN, name="vit.npz", seed=2)
    return resnet, vit


def targets_of(fusion) -> dict[str, tuple[int, ...]]:
    module = small_fusion.build(fusion).module
    return {f"backbone/{path}": shape for path, shape in shapes_of(module).items()}


def model_branch(**named):
    model = defaults().model
    model.vit_options.num_heads = 3
    for key, path in named.items():
        model[key] = str(path)
    return model


@pytest.mark.parametrize("name", FUSIONS.names())
def test_halves_of_two_files_fill_every_fusion(name, donors):
    (resnet_path, resnet_held), (vit_path, vit_held) = donors
    fusion = FUSIONS.get(name)
    targets = targets_of(fusion)
    named = {"pretrained_resnet": resnet_path, "pretrained_vit": vit_path}
    model = model_branch(
        **{key: path for key, path in named.items() if key.split("_")[1] in fusion.parts}
    )
    fills, report = open_weights(model).match(model, targets)
    filled = {path: array for fill in fills for path, array in fill.arrays()}
    held = {p: a for p, a in resnet_held.items() if "/resnet/" in p}
    held |= {p: a for p, a in vit_held.items() if "/vit/" in p}
    # The whole ResNet half, and all of the ViT but its input, have the same shapes.
    wanted = {
        path
        for path, shape in targets.items()
        if path in held and held[path].shape == shape
    }
    positions = "backbone/vit/position"
    if positions in targets:
        wanted.add(positions)
    assert filled.keys() == wanted
    for path, array in filled.items():
        assert array.shape == targets[path]
        if array.shape == held[path].shape:
            np.testing.assert_array_equal(array, held[path], err_msg=path)
    for part in fusion.parts:
        share = [p for p in targets if f"/{part}/" in p]
        loaded = [p for p in share if p in filled]
        assert len(loaded) >= 0.8 * len(share), f"of {part}, only {loaded} are loaded"
    assert {row.path for row in report.where("new")} == targets.keys() - filled.keys()
    new = [row.path for row in report.where("new")]
    assert len(new) == len(set(new)), "two files lack it, it is new once"
    # The half that is not wanted of a file is not dropped from it.
    assert not [row.path for row in report.where("dropped") if row.part == "file"]


def test_report_tells_which_arrays_are_which(donors):
    model = model_branch(pretrained_resnet=donors[0][0], pretrained_vit=donors[1][0])
    targets = targets_of(FUSIONS.get("cross_attention"))
    _, report = open_weights(model).match(model, targets)
    parts = {
        action: {row.part for row in report.where(action)}
        for action in ("loaded", "resized", "new")
    }
    assert parts == dict(loaded={"resnet", "vit"}, resized={"vit"}, new={"fusion"})
    text = str(report)
    assert "resized  backbone/vit: position 5x5x48 -> 4x6x48" in text
    assert text.splitlines()[1].split()[:2] == ["resnet", "51"]


def test_half_that_the_file_lacks_is_refused(donors):
    model = model_branch(pretrained_resnet=donors[1][0])
    with pytest.raises(
        UserError, match="model.pretrained_resnet: expected a file with a resnet"
    ):
        open_weights(model).settings(model)


def test_whole_and_half_together_are_refused(donors):
    model = model_branch(pretrained=donors[0][0], pretrained_vit=donors[1][0])
    with pytest.raises(UserError, match="leave pretrained_resnet and"):
        open_weights(model)


def test_half_of_which_nothing_fits_is_refused(donors, tmp_path):
    wide = PLAIN.__class__(**{**vars(PLAIN), "width": 96, "mlp": 100, "depth": 1})
    path, _ = donor(tmp_path, wide)
    model = model_branch(pretrained_vit=path)
    with pytest.raises(UserError, match="no array of its vit fits the model's"):
        open_weights(model).match(model, targets_of(FUSIONS.get("vit")))


def test_norm_of_another_kind_is_refused_though_its_shapes_fit(donors):
    model = model_branch(pretrained_resnet=donors[0][0])
    model.resnet_options.norm = "batch"
    message = r"holds a resnet with norm='group', the model has norm='batch'. Set model"
    with pytest.raises(UserError, match=message):
        open_weights(model).match(model, targets_of(FUSIONS.get("conformer")))
