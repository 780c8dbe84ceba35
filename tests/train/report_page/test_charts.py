"""Lines and bars are where the numbers say."""

import json
import re

import numpy as np
import pytest

from hybrid_jax.tasks.classification.calibration import calibration_error
from hybrid_jax.train.report_page.axis import axis_over, tick_text
from hybrid_jax.train.report_page.calibration_chart import calibration_chart
from hybrid_jax.train.report_page.line_chart import Series, line_chart
from hybrid_jax.train.report_page.markup import Html, data_script, element
from hybrid_jax.train.report_page.numbers import in_short, shown


def chart(points, **options):
    return line_chart("Loss", [Series("a", points)], x_label="step", **options)


def places(text):
    (points,) = re.findall(r'points="(.*?)"', text)
    return [tuple(map(float, pair.split(","))) for pair in points.split()]


def test_points_are_linear_in_their_values():
    found = places(chart([(0, 0.0), (50, 0.5), (100, 1.0)]))
    np.testing.assert_allclose(
        np.diff(found, axis=0)[0], np.diff(found, axis=0)[1], atol=0.1
    )
    assert found[0][0] < found[2][0]
    assert found[0][1] > found[2][1], "larger values are higher, so nearer to the top"


def test_values_far_apart_are_logarithmic_if_that_is_allowed():
    points = [(1, 1.0), (2, 10.0), (3, 100.0)]
    text = chart(points, may_be_log=True)
    heights = [y for _, y in places(text)]
    np.testing.assert_allclose(np.diff(heights)[0], np.diff(heights)[1], atol=0.2)
    assert "logarithmic" in text
    assert "logarithmic" not in chart(points)
    assert "logarithmic" not in chart([(1, 0.0), (2, 100.0)], may_be_log=True)


def test_long_lines_are_means_of_stretches():
    points = [(n, float(n % 2)) for n in range(6000)]
    text = chart(points)
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    (values,) = json.loads(data)["values"]
    assert len(values) == 300
    assert values[-1] == [5999, 0.5]


def test_chart_without_points_is_nothing():
    assert chart([]) == ""


@pytest.mark.parametrize("points", [[(7, 0.25)], [(0, 0.0)], [(1, 2.0), (2, 2.0)]])
def test_chart_of_one_value(points):
    for x, y in places(chart(points)):
        assert 0 <= x <= 420
        assert 0 <= y <= 250


@pytest.mark.parametrize("values", [(0.1, 0.93), (3, 1234), (-2.5, 7e-4), (1e-7, 2e-7)])
def test_ticks_are_round_and_around_the_values(values):
    axis = axis_over(values, count=5)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert 3 <= len(axis.ticks) <= 8
    assert all(len(tick_text(tick)) <= 7 for tick in axis.ticks)


@pytest.mark.parametrize("high", [1e-3, 5e-4, 1e-4, 3e-5, 1.1e-5, 7e-6, 2.5e6])
@pytest.mark.parametrize("low", [0.0, 0.5])
def test_no_two_ticks_have_the_same_text(low, high):
    """A schedule of a learning rate goes from its peak to 0 or to some share of it."""
    axis = axis_over((low * high, high), count=5)
    texts = [tick_text(tick) for tick in axis.ticks]
    assert len(set(texts)) == len(texts)
    np.testing.assert_allclose(list(map(float, texts)), axis.ticks, rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (7.5e-5, "7.5e-5"), (1e-5, "1e-5"), (2.5e6, "2.5e6"), (1e-10, "1e-10")],
)
def test_ticks_are_as_short_as_they_can_be(value, text):
    assert tick_text(value) == text


def test_calibration_error_is_that_of_the_scores():
    random = np.random.default_rng(0)
    count = random.integers(0, 20, 15)
    sure, right = random.random((2, 15))
    sums = np.stack([count, count * sure, count * right])
    bins = np.stack([count, sure, right], axis=1).tolist()
    text = calibration_chart(bins, right="right")
    assert f"expected error {100 * calibration_error(sums):.2f} %;" in text
    assert text.count('class="bar"') == np.count_nonzero(count)
    assert calibration_chart([[0, 0.0, 0.0]], right="right") == ""


def test_only_markup_is_not_escaped():
    assert element("p", "<b>", Html("<i></i>"), title='"') == (
        '<p title="&quot;">&lt;b&gt;<i></i></p>'
    )
    assert json.loads(re.sub("<.*?>", "", data_script(["</script>&"]))) == ["</script>&"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5000"), (1234567, "1,234,567"), (None, "–"), (float("nan"), "–")]
    + [(1e-5, "1.00e-05"), (12.34, "12.3"), ("a", "a"), (2.0, "2")],
)
def test_numbers_are_short(value, text):
    assert shown(value) == text


def test_large_numbers_have_words():
    assert [in_short(n) for n in (12, 4_600, 91_543_114)] == ["12", "4.6 k", "91.5 M"]
