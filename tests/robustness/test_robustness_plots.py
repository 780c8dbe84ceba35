"""Plots of several runs, and what is said where they cannot be drawn."""

import numpy as np
import pytest
from etils import epath
from PIL import Image

from hybrid_jax.plot_look import ABSENT
from hybrid_jax.robustness.passes import CLEAN, passes_of
from hybrid_jax.robustness.results.plots import _figure, curve, legend_names, write_plots
from hybrid_jax.robustness.results.summary import summary

SUITES = ["corruptions", "rotation", "occlusion"]
RENDERED = SUITES[1:]


def run(shift):
    """Returns the summary of a run that loses `shift` per pass."""
    passes = passes_of(SUITES, task="classification")
    scores = {each: {"top1": 0.9 - shift * i} for i, each in enumerate(passes)}
    scores[CLEAN]["count"] = 7
    return summary(scores, passes, score="top1")


RUNS = {"resnet": run(0.001), "vit": run(0.002), "hybrid": run(0.003)}


def test_curve_has_the_clean_score_at_its_place():
    strengths, scores = curve(RUNS["vit"], "rotation", "rotation")
    assert strengths == sorted(strengths)
    assert scores[strengths.index(0.0)] == 0.9
    assert len(strengths) == 16
    at_15 = RUNS["vit"]["suites"]["rotation"]["lines"]["rotation"]
    expected = at_15["scores"][at_15["strengths"].index(15.0)]["top1"]
    assert scores[strengths.index(15.0)] == expected


def test_legend_has_the_last_folders_if_they_tell_runs_apart():
    assert legend_names(["runs/vit", "/a/b/resnet"]) == ["vit", "resnet"]
    assert legend_names(["a/seed0", "b/seed0"]) == ["a/seed0", "b/seed0"]


def test_every_suite_has_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib of the extra `plots` is absent")
    # Not the corruptions, whose 19 panels take ten times as long as one to render.
    small = {
        name: of_run | dict(suites={suite: of_run["suites"][suite] for suite in RENDERED})
        for name, of_run in RUNS.items()
    }
    found = write_plots(small, epath.Path(tmp_path))
    assert [path.name for path in found] == [f"robustness_{name}.png" for name in RENDERED]
    for path in found:
        picture = Image.open(path).convert("RGB")
        assert min(picture.size) > 300
        assert len(picture.getcolors(picture.width * picture.height)) > 50


@pytest.mark.parametrize("suite", SUITES)
def test_picture_names_axes_and_runs_and_draws_every_line(suite):
    pytest.importorskip("matplotlib", reason="matplotlib of the extra `plots` is absent")
    figure = _figure(RUNS, suite)
    kind = RUNS["vit"]["suites"][suite]
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert len(shown) == len(kind["lines"])
    assert figure.get_supxlabel() == kind["axis"]
    assert shown[0].get_ylabel() == "top1"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(RUNS)
    for panel, line in zip(shown, kind["lines"], strict=True):
        styles = [(x.get_color(), x.get_linestyle(), x.get_marker()) for x in panel.lines]
        assert len(set(styles)) == 3
        for drawn, of_run in zip(panel.lines, RUNS.values(), strict=True):
            strengths, scores = curve(of_run, suite, line)
            np.testing.assert_array_equal(drawn.get_xdata(), strengths)
            np.testing.assert_array_equal(drawn.get_ydata(), scores)


def test_without_matplotlib_a_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert write_plots(RUNS, epath.Path(tmp_path)) == []
    assert capsys.readouterr().out == f"{ABSENT}\n"
    assert list(tmp_path.iterdir()) == []
