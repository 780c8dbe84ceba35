"""`studies/compare`: which of some fusions is best for one's own data."""

import numpy as np
import pytest
from PIL import Image

from hybrid_jax.config_files import named
from hybrid_jax.errors import UserError
from hybrid_jax.studies.planning.plan_table import plan_notes
from hybrid_jax.studies.planning.readiness import lengths_of
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.settings import study_of


def fill(folder, *, count=10):
    """Writes images of two classes."""
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((8, 8, 3), 100 * number + i, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def compared(words):
    return study_of(named(f"studies/compare:{words}"))


def planned(study):
    sizes = {name: (Size(1000, 2000),) * 3 for name in study.variants}
    lengths = lengths_of(study)
    return "\n".join(plan_notes(study, sizes, lengths, times=None, fault=""))


def test_first_of_the_words_is_the_baseline_and_others_reach_the_experiment(tmp_path):
    fill(tmp_path)
    words = f"folder={tmp_path},fusions=vit+resnet+sequential,steps=30,size=32,batch=8"
    study = compared(words)
    assert list(study.variants) == ["vit", "resnet", "sequential"]
    assert study.baseline == "vit"
    assert study.base["data"]["name"] == f"folder:{tmp_path}"
    train = study.base["train"]
    assert (train["steps"], train["batch_size"]) == (30, 8)
    assert study.base["data"]["image_size"] == 32
    fusions = {name: changes["model.fusion"] for name, changes in study.variants.items()}
    assert fusions == {name: name for name in fusions}
    # The halves alone have more blocks, so that size alone is no excuse.
    depths = {name: v["model.vit_options.depth"] for name, v in study.variants.items()}
    assert depths["vit"] > depths["sequential"]


def test_runs_are_small_and_short_by_default(tmp_path):
    fill(tmp_path)
    base = compared(f"fusions=resnet+vit,folder={tmp_path}").base
    assert base["data"]["image_size"] == 64
    assert (base["train"]["steps"], base["train"]["epochs"]) == (600, None)
    epochs = compared(f"folder={tmp_path},epochs=3").base["train"]
    assert (epochs["steps"], epochs["epochs"]) == (None, 3.0)


@pytest.mark.parametrize(
    ("fusions", "expected"),
    [
        ("resnet+confromer", "'confromer'. Did you mean 'conformer'.* Known: bifusion, "),
        ("resnet", "expected two or more different fusions"),
        ("resnet+vit+resnet", "expected two or more different fusions"),
        ("", "unknown fusion ''"),
    ],
)
def test_mistaken_fusions_are_refused(fusions, expected):
    with pytest.raises(UserError, match=expected):
        compared(f"digits,fusions={fusions}")


def test_one_fusion_is_not_taken_for_several():
    with pytest.raises(UserError, match=r"Name two or more, joined by \+, as fusions="):
        compared("digits,fusion=vit")


def test_folder_without_splits_is_shared_out_and_the_plan_says_so(tmp_path):
    fill(tmp_path)
    plan = planned(compared(f"folder={tmp_path},steps=2"))
    assert "data: 16 examples train, 2 of 'validation' choose, and 2 of 'test'" in plan
    assert "a tenth is the test split" in plan


@pytest.mark.parametrize("others", [(), ("val",)])
def test_folder_without_a_test_split_is_shared_out_anew(tmp_path, capsys, others):
    for split in ("train", *others):
        fill(tmp_path / split)
    study = compared(f"folder={tmp_path},steps=2")
    said = capsys.readouterr().out
    assert f"{tmp_path} has no test split" in said
    assert (f"{tmp_path / 'val'} is not read" in said) == bool(others)
    assert "16 examples train, 2 of 'validation' choose, and 2 of" in planned(study)


def test_folder_with_a_test_split_is_taken_as_it_is(tmp_path, capsys):
    for split in ("train", "test"):
        fill(tmp_path / split)
    plan = planned(compared(f"folder={tmp_path},steps=2"))
    assert "no test split" not in capsys.readouterr().out
    assert "18 examples train, 2 of 'validation' choose, and 20 of 'test'" in plan
    assert "2 of the 20 training images are held out" in plan
