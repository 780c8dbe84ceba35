"""A second `--mode=predict` into the same folder replaces its own files and no others."""

import json
import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image
from saved_run import config_of, saved

from hybrid_jax.errors import UserError
from hybrid_jax.predicting.drawn_files import earlier_files
from hybrid_jax.predicting.predict_run import predict_run

CONFIG = config_of("segmentation")
OUTSIDE = '{"images": [{"image": "IMAGE", "drawn": "../photos/more/b.png"}]}'

pytestmark = pytest.mark.usefixtures("one_device", "restored_once")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("segmentation")
    saved(epath.Path(path), CONFIG)
    return path


@pytest.fixture(scope="module")
def predicted_once(workdir, tmp_path_factory):
    """Two photos and what was predicted for them; returns (where they lie, a copy)."""
    place = tmp_path_factory.mktemp("predicted")
    photos, out = place / "photos", place / "out"
    (photos / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.png"):
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(photos / name)
    predict_run(CONFIG, str(workdir), inputs=[str(photos)], output=str(out))
    assert pngs(out) == {"a.png", "a_classes.png", "more/b.png", "more/b_classes.png"}
    return place, shutil.copytree(place, tmp_path_factory.mktemp("copy") / "predicted")


@pytest.fixture
def photos(predicted_once):
    """A folder with a.png and more/b.png, as if nothing but their prediction happened."""
    place, copy = predicted_once
    shutil.rmtree(place)
    return shutil.copytree(copy, place) / "photos"


@pytest.fixture
def again(workdir, photos, capsys):
    """Returns the folder of a first prediction, and what predicts there again."""
    out = photos.parent / "out"

    def of(*inputs):
        capsys.readouterr()
        predict_run(CONFIG, str(workdir), inputs=list(map(str, inputs)), output=str(out))
        return capsys.readouterr().out

    return out, of


def pngs(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.png")}


def test_files_of_the_same_image_are_replaced_under_any_name(again, photos):
    out, of = again
    (out / "mine.png").write_bytes(b"mine")
    printed = of(photos / "a.png", photos / "more/b.png")
    assert pngs(out) == {"a.png", "a_classes.png", "b.png", "b_classes.png", "mine.png"}
    assert "2 images, predictions in" in printed
    assert "note: files of other images" not in printed


def test_files_of_other_images_stay_and_are_told(again, photos):
    out, of = again
    printed = of(photos / "more/b.png")
    assert pngs(out) == {"a.png", "a_classes.png", "b.png", "b_classes.png"}
    assert "1 image, predictions in" in printed
    assert "note: files of other images are there from before: 2\n" in printed


def test_image_that_cannot_be_read_any_more_loses_its_drawing(again, photos):
    out, of = again
    (photos / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 2 images could not be read"):
        of(photos)
    assert pngs(out) == {"more/b.png", "more/b_classes.png"}


def test_earlier_drawing_that_is_an_input_now_is_not_removed(again, photos):
    out, of = again
    of(photos / "more/b.png", out / "more/b.png")
    assert {"more/b.png", "b.png", "b_2.png"} < pngs(out)
    assert "more/b_classes.png" not in pngs(out)


@pytest.mark.parametrize(
    "told",
    [
        "{",
        "[]",
        '{"images": [3]}',
        '{"images": [{"image": "IMAGE", "drawn": 3}]}',
        OUTSIDE,
        '{"images": [{"image": "IMAGE", "drawn": "notes.txt"}]}',
        '{"images": [{"image": "IMAGE", "drawn": "gone.png"}]}',
    ],
)
def test_nothing_but_its_own_drawings_is_a_file_of_before(photos, told):
    out = photos.parent / "out"
    (out / "notes.txt").write_text("mine")
    assert len(earlier_files(out)) == 4
    (out / "predictions.json").write_text(told.replace("IMAGE", str(photos / "a.png")))
    assert earlier_files(out) == []


@pytest.mark.parametrize("told", ["{", OUTSIDE])
def test_nothing_but_its_own_drawings_is_removed(again, photos, told):
    out, of = again
    (out / "notes.txt").write_text("mine")
    before = pngs(out)
    (out / "predictions.json").write_text(told.replace("IMAGE", str(photos / "a.png")))
    of(photos / "a.png")
    assert pngs(out) == before
    assert (out / "notes.txt").exists()
    assert (photos / "more/b.png").exists()
    (answer,) = json.loads((out / "predictions.json").read_text())["images"]
    assert answer["drawn"] == "a.png"
