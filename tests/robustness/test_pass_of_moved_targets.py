"""Passes over moved images have moved targets, and score as data that is moved before."""

import jax
import numpy as np
import pytest
from etils import epath
from few_devices import runs_on
from saved_run import config_of, saved

from hybrid_jax.contracts import Source
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.ops.boxes import original_boxes
from hybrid_jax.robustness.moving.known_truth import KnownTruth
from hybrid_jax.robustness.moving.motion_suite import MotionSuite
from hybrid_jax.robustness.passes import CLEAN, Pass
from hybrid_jax.robustness.score_passes import PassScorer
from hybrid_jax.tasks.detection.task import Detection

EXAMPLES = 12


class Turned(Source):
    """The first examples of a source, upside down if asked."""

    def __init__(self, source, *, turned):
        self.source, self.turned, self.info = source, turned, source.info

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, index):
        example = dict(self.source[index])
        if not self.turned:
            return example
        height, width = example["image"].shape[:2]
        for key in {"image", "segmentation"} & set(example):
            example[key] = example[key][::-1, ::-1]
        if "boxes_xyxy_px" in example:
            corner = np.array([width, height] * 2, np.float32)
            example["boxes_xyxy_px"] = corner - example["boxes_xyxy_px"][:, [2, 3, 0, 1]]
        return example


@pytest.fixture(scope="module")
def boxes_run(tmp_path_factory):
    return run_of("detection", tmp_path_factory)


@pytest.fixture(scope="module", params=["detection", "segmentation"])
def run(request, tmp_path_factory):
    if request.param == "detection":
        return request.getfixturevalue("boxes_run")
    return run_of(request.param, tmp_path_factory)


def run_of(task, tmp_path_factory):
    """Returns a run of random weights on images that no resize changes, and its state."""
    config = config_of(task, {"data.image_size": (64, 72)})
    # The detector shows that rows of several devices are put together.
    with runs_on(2 if task == "detection" else 1):
        return saved(epath.Path(tmp_path_factory.mktemp("run")), config)


def scores(run, passes, *, turned):
    experiment, state = run
    state = jax.device_put(state, experiment.shardings)
    source = Turned(experiment.source, turned=turned)
    stream = eval_batches(
        source, data=experiment.eval_data, targets=experiment.task.targets, batch_size=8
    )
    scorer = PassScorer(experiment, state, KnownTruth(source))
    return scorer.scores(stream, passes, advance=lambda: None)


# That targets move as pixels do, `test_motion.py` shows by every pytest.
@pytest.mark.slow
def test_half_a_turn_on_the_device_scores_as_one_on_the_host(run):
    half = Pass("rotation", "rotation", 180.0)
    found = scores(run, [CLEAN, half], turned=False)
    expected = scores(run, [CLEAN], turned=True)[CLEAN]
    assert found[half] == pytest.approx(expected, rel=1e-5, abs=1e-7)
    # Turning matters here.
    assert abs(found[half]["loss"] / found[CLEAN]["loss"] - 1) > 1e-4
    if run[0].task.main_score == "mIoU":
        assert abs(found[half]["mIoU"] - found[CLEAN]["mIoU"]) > 1e-4


MOVES = [
    Pass("rotation", "rotation", 30.0),
    Pass("rotation", "rotation", -90.0),
    Pass("scale", "scale", 0.5),
    Pass("scale", "scale", 2.0),
    Pass("translation", "down", -0.3),
]


def test_detector_that_finds_every_moved_object_is_perfect(boxes_run, monkeypatch):
    def seen(self, outputs, batch):
        """Predicts the boxes of the batch, which lie where its pixels do."""
        boxes = original_boxes(
            batch["boxes_xyxy_px"],
            **{key: batch[key] for key in ("scale_yx", "offset_yx", "original_hw")},
        )
        valid = batch["box_mask"]
        return dict(
            boxes_xyxy_px=boxes, labels=batch["box_labels"], scores=1.0 * valid, valid=valid
        )

    monkeypatch.setattr(Detection, "predict", seen)
    found = scores(boxes_run, [CLEAN, *MOVES], turned=False)
    for each in MOVES:
        assert found[each]["AP"] == pytest.approx(1.0), each
    # And one that finds them where they were is not.
    monkeypatch.setattr(MotionSuite, "moves", False)
    found = scores(boxes_run, MOVES, turned=False)
    assert max(found[each]["AP"] for each in MOVES) < 0.6
