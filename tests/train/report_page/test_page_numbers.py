"""The numbers that a page makes of the files of a run."""

import re

import pytest
from etils import epath

from hybrid_jax.train.report_page.calibration_chart import calibration_chart
from hybrid_jax.train.report_page.case_cards import case_cards
from hybrid_jax.train.report_page.class_scores import confusion_table, score_cell
from hybrid_jax.train.report_page.numbers import duration, shown_score
from hybrid_jax.train.report_page.run_facts import cost_rows
from hybrid_jax.train.report_page.run_files import RunFiles


def run_of(rows, *, best_metric="top1", findings=(), dataset=()):
    settings = {"checkpoint.best_metric": best_metric, "task.name": "classification"}
    place = epath.Path("/nowhere/run")
    return RunFiles(place, settings, dict(dataset), {}, dict(findings), rows, ())


def test_bars_of_a_calibration_are_as_high_as_the_share_right():
    text = calibration_chart([[4, 0.25, 0.2], [6, 0.9, 0.8]], right="right")
    bars = re.findall(r'class="bar".*? y="([\d.]+)".*? height="([\d.]+)"', text)
    assert bars == [("208.0", "50.0"), ("58.0", "200.0")]  # of 250 px, from the bottom
    marks = re.findall(r'class="sure".*? y1="([\d.]+)"', text)
    assert marks == ["195.5", "33.0"]


def test_confusion_is_in_per_cent_of_the_true_class():
    counts = [[9, 1, 0], [0, 4, 0], [1, 0, 499]]
    text = confusion_table(dict(names=["a", "b", "c"], counts=counts, unit="images"))
    cells = re.findall(r'<td class="(\w+)[^>]*title="(.*?)">(.*?)</td>', text)
    assert cells == [
        ("right", "a predicted as a: 9 (90.0 %)", "90"),
        ("wrong", "a predicted as b: 1 (10.0 %)", "10"),
        ("right", "b predicted as b: 4 (100.0 %)", "100"),
        ("wrong", "c predicted as a: 1 (0.2 %)", "&lt;1"),
        ("right", "c predicted as c: 499 (99.8 %)", "100"),
    ]


@pytest.mark.parametrize(("metric", "step"), [("top1", 10), ("loss", 30)])
def test_best_score_is_the_largest_or_of_losses_the_smallest(metric, step):
    rows = [
        dict(step=10, split="validation", top1=0.9, loss=0.7),
        dict(step=20, split="validation", top1=0.5, loss=0.9),
        dict(step=30, split="validation", top1=0.8, loss=0.5),
        dict(step=30, split="train", top1=1.0, loss=0.1),
    ]
    best = run_of(rows, best_metric=metric).best()
    assert best == (step, rows[step // 10 - 1][metric], "validation")


def test_of_equal_scores_the_later_is_the_best():
    rows = [dict(step=step, split="validation", top1=0.5) for step in (10, 20)]
    assert run_of(rows).best() == (20, 0.5, "validation")


def test_scores_that_cannot_be_computed_are_no_points():
    values = (-1, 0.25, float("nan"), None, 0.5)
    rows = [dict(step=n, split="validation", APs=v) for n, v in enumerate(values)]
    assert run_of(rows).points("APs", split="validation") == [(1, 0.25), (4, 0.5)]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("top1", 1.0, "100.00 %"),
        ("top1", 0.93785, "93.78 %"),  # half to even, as Python rounds
        ("top1_color", 0.0, "0.00 %"),
        ("AP50", 0.5, "50.00 %"),
        ("mIoU", None, "–"),
        ("ece", float("nan"), "–"),
        ("loss", 1.0, "1"),
        ("count", 1, "1"),
        ("rmse", 1.0, "1"),  # of a task of one's own
    ],
)
def test_shares_are_in_per_cent(name, value, text):
    assert shown_score(name, value) == text


@pytest.mark.parametrize(
    "column", ["recall", "precision", "F1", "AP", "AP50", "IoU", "accuracy"]
)
def test_scores_of_classes_are_in_per_cent_as_those_of_the_run(column):
    cell = score_cell(column, 0.5)
    assert cell.endswith(">50.00 %</td>")
    assert 'data-value="0.5"' in cell  # by which the table is sorted
    assert "–" in score_cell(column, None)


def test_numbers_of_classes_that_are_no_shares_stay_numbers():
    assert score_cell("images", 1).endswith(">1</td>")


def test_scores_of_pictures_and_of_calibration_are_in_per_cent():
    case = dict(name="a", score=0.5, pictures=[dict(title="x", src="")])
    assert "<p>mean IoU 50.00 %</p>" in case_cards("Best", [case], task="segmentation")
    bins = [[4, 0.25, 0.2], [6, 0.9, 0.8]]
    assert "expected error 8.00 %;" in calibration_chart(bins, right="right")


def test_cost_has_all_parameters_and_the_time_of_all_steps():
    pace = ((10, 2.0), (20, 1.0), (25, 4.0))  # step of a row, seconds per step up to it
    rows = [dict(step=n, split="train", seconds_per_step=s) for n, s in pace]
    cost = dict(parameters=dict(resnet=1000, vit=234), macs=5_000_000)
    found = dict(cost_rows(run_of(rows, findings=dict(cost=cost))))
    assert found["parameters"] == "1,234"
    assert found["… of resnet"] == "1,000"
    assert found["time of training steps"] == duration(20 + 10 + 20)
