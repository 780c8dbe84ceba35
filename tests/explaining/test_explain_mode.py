"""`--mode=explain`: pictures of any images, and scores on data with boxes."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict
from PIL import Image
from recorded_heartbeat import Recorded
from saved_run import config_of, saved

from hybrid_jax.data.sources.shapes import ShapesSource
from hybrid_jax.errors import BadImageError, UserError
from hybrid_jax.explaining.explain_run import explain_run
from hybrid_jax.explaining.explained_run import ExplainedRun
from hybrid_jax.explaining.localization import split_scores
from hybrid_jax.explaining.localization.heat_map_scores import (
    energy_in_boxes,
    pointing_game,
)
from hybrid_jax.explaining.localization.split_scores import localization_scores
from hybrid_jax.train.checkpoints import scored_run

pytestmark = pytest.mark.usefixtures("one_device")

EXAMPLES = 36  # more than a batch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, workdir, run) of a model that classifies shapes."""
    path = epath.Path(tmp_path_factory.mktemp("run"))
    two_blocks = {"model.vit_options.depth": 2}
    config = config_of("classification", {"data.name": "shapes"} | two_blocks)
    return config, str(path), ExplainedRun.of(*saved(path, config))


@pytest.fixture
def few(monkeypatch):
    def open_few(data, *, split):
        return ShapesSource(split=split, size_px=64, num_examples=EXAMPLES)

    monkeypatch.setattr(scored_run, "open_split", open_few)
    return open_few(None, split="validation")


def test_images_are_drawn_and_told(run, tmp_path, capsys):
    config, workdir, _ = run
    noise = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    output = tmp_path / "out"
    with pytest.raises(UserError, match="1 of 2 images could not be read"):
        explain_run(config, workdir, inputs=[str(tmp_path)], output=str(output))
    told = json.loads((output / "explanation.json").read_text())
    broken, row = told["images"]
    assert "error" in broken
    assert row["overview"] == "0001_noise.png"
    assert row["views"] == dict(
        resnet="Grad-CAM, stage1", transformer="attention rollout", fused="mean of both"
    )
    assert list(row["attention_distance_px"]) == ["vit/blocks/0/attn", "vit/blocks/1/attn"]
    names = {row["overview"], row["maps"], row["heads"], "explanation.json"}
    assert {path.name for path in output.iterdir()} == names | {"positions.png"}
    overview = Image.open(output / row["overview"])
    assert overview.width > 4 * 300  # image, ResNet, transformer, fused
    assert told["missing"] == []
    assert "noise.png: " in capsys.readouterr().out


def test_localization_is_scored_on_the_split(run, few):
    config, workdir, explained = run
    found = explain_run(config, workdir)
    path = epath.Path(workdir) / "localization_validation.json"
    assert json.loads(path.read_text()) == found
    assert found["examples"] == EXAMPLES
    assert list(found["views"]) == ["resnet", "transformer", "fused"]
    samples = [explained.sample(few[i], with_boxes=True) for i in range(EXAMPLES)]
    boxes = [sample.boxes_xyxy_px for sample in samples]
    assert max(box.max() for box in boxes) <= 16  # px of the model's input
    labels = np.array([sample.label for sample in samples])
    views = explained.explain(samples[:32], classes=labels[:32]).views()
    rest = explained.explain(samples[4:], classes=labels[4:]).views()
    for view, row in found["views"].items():
        heat = np.concatenate([views[view], rest[view][-4:]])
        assert row["pointing_game"] == pytest.approx(
            pointing_game(heat, boxes).mean(), abs=1e-4
        )
        assert row["energy_in_boxes"] == pytest.approx(
            energy_in_boxes(heat, boxes).mean(), abs=1e-4
        )
    assert 0.1 < found["uniform"] < 0.7


def test_long_scoring_tells_how_far_it_is(run, few, monkeypatch):
    explained, heartbeat, told = run[2], Recorded(), []
    explain = ExplainedRun.explain

    def noting(self, samples, **options):
        told.append(heartbeat.status())
        return explain(self, samples, **options)

    monkeypatch.setattr(ExplainedRun, "explain", noting)
    monkeypatch.setattr(split_scores, "Heartbeat", lambda **_: heartbeat)
    localization_scores(explained, few)
    assert told == [f"explaining image {n} of 36: 0 s" for n in (32, 36)]


@pytest.mark.parametrize("choice", ["raise", "skip"])
def test_unreadable_image_of_the_split_is_left_out_where_asked(run, few, choice):
    class Damaged:
        info = few.info

        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index == 0:
                raise BadImageError("image 'torn.png' cannot be read")
            return few[index]

    explained = dataclasses.replace(run[2], data=changed_data(run[2].data, choice))
    if choice == "skip":
        assert localization_scores(explained, Damaged())["examples"] == 1
    else:
        with pytest.raises(BadImageError, match="torn"):
            localization_scores(explained, Damaged())


def changed_data(data, choice):
    data = ConfigDict(data.to_dict())
    data.on_bad_image = choice
    return data


def test_data_without_boxes_is_refused(tmp_path):
    config = config_of("classification")
    saved(epath.Path(tmp_path), config)
    with pytest.raises(UserError, match="the data has no boxes"):
        explain_run(config, str(tmp_path))


def test_several_splits_are_refused(run):
    config, workdir, _ = run
    config = config_of("classification", {"eval.split": "validation,test"})
    with pytest.raises(UserError, match="expected one split for --mode=explain"):
        explain_run(config, workdir)
