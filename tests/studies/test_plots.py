"""The pictures of a study."""

import json

import pytest
from stub_study import carry_out

from hybrid_jax.plot_look import ABSENT
from hybrid_jax.studies.results.plots.cost_plot import cost_plot, pareto_front
from hybrid_jax.studies.results.plots.curves_plot import curves_plot, validation_curves
from hybrid_jax.studies.results.plots.save_plots import save_plots
from hybrid_jax.studies.results.plots.sensitivity_plot import (
    sensitivity_plot,
    tuned_numbers,
)
from hybrid_jax.studies.short_keys import short_keys


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    carry_out(path, plotted=True, seeds=(0, 1))
    return path


@pytest.fixture
def found(workdir):
    return json.loads((workdir / "study.json").read_text())


def test_study_leaves_its_pictures(workdir, found):
    names = {path.name for path in (workdir / "plots").iterdir()}
    expected = {"score_by_macs.svg", "score_by_seconds.svg"}
    assert names == expected | {"sensitivity_learning_rate.svg"}  # stubs leave no curves
    before = (workdir / "plots" / "score_by_macs.svg").read_bytes()
    save_plots(found, workdir)
    assert (workdir / "plots" / "score_by_macs.svg").read_bytes() == before


def test_without_matplotlib_a_line_says_so(workdir, found, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert save_plots(found, workdir) == []
    assert capsys.readouterr().out == f"{ABSENT}\n"


@pytest.mark.parametrize(
    ("costs", "scores", "front"),
    [
        ([1, 2, 3], [0.1, 0.2, 0.3], [0, 1, 2]),
        ([3, 2, 1], [0.1, 0.2, 0.3], [2]),
        ([1, 1, 2], [0.1, 0.3, 0.3], [1]),
        ([2, 1, 3], [0.5, 0.2, 0.4], [1, 0]),
    ],
)
def test_front_has_no_dominated_point(costs, scores, front):
    assert pareto_front(costs, scores) == front


def test_points_have_their_scores_and_deviations(found):
    axes = cost_plot(found, cost="macs").axes[0]
    points = {tuple(xy) for xy in axes.containers[0].lines[0].get_xydata()}
    variants = found["variants"].values()
    assert points == {(v["macs"] / 1e6, v["mean"]) for v in variants}
    segments = axes.containers[0].lines[2][0].get_segments()
    halves = sorted(abs(high[1] - low[1]) / 2 for low, high in segments)
    assert halves == pytest.approx(sorted(v["deviation"] for v in variants))


def test_no_plot_of_times_that_are_not_known(found):
    for variant in found["variants"].values():
        variant["time"]["seconds"] = None
    assert cost_plot(found, cost="seconds") is None


def test_trials_of_each_rate_and_the_gap_of_one_that_diverged(found):
    assert tuned_numbers(found) == ["optimizer.learning_rate"]
    lost = next(
        run for run in found["runs"] if run["trial"] and run["variant"] == "sequential"
    )
    rate = lost["setting"]["optimizer.learning_rate"]
    lost["validation"]["score"] = None
    axes = sensitivity_plot(found, key="optimizer.learning_rate").axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == list(found["variants"])
    values = dict(zip(*lines["sequential"].get_data(), strict=True))
    assert [v for v, score in values.items() if score != score] == [rate]
    assert axes.get_xscale() == "log"


def test_words_are_no_tuned_numbers(found):
    for run in found["runs"]:
        run["setting"] = {"optimizer.name": run["name"], "train.ema": run["trial"]}
    assert tuned_numbers(found) == []


def test_keys_that_end_alike_are_told_apart():
    width, half = "model.vit_options.width", "model.resnet_options.width"
    rate = "optimizer.learning_rate"
    assert short_keys([width, half, rate]) == {
        width: "vit_options.width",
        half: "resnet_options.width",
        rate: "learning_rate",
    }
    assert short_keys(["a.b", "b"]) == {"a.b": "a.b", "b": "b"}


def test_each_tuned_number_has_a_picture(tmp_path, found):
    for run in found["runs"]:
        rate = run["setting"]["optimizer.learning_rate"]
        run["setting"] = {
            "model.vit_options.width": rate,
            "model.resnet_options.width": rate,
        }
    names = {path.stem for path in save_plots(found, tmp_path)}
    kinds = {"sensitivity_vit_options.width", "sensitivity_resnet_options.width"}
    assert kinds <= names


def test_curves_are_the_mean_of_the_final_runs_that_finished(tmp_path, found):
    lost = next(
        run for run in found["runs"] if run["variant"] == "sequential" and run["seed"]
    )
    lost["validation"]["status"] = "diverged"
    for run in found["runs"]:
        folder = tmp_path / run["name"]
        folder.mkdir()
        score = 0.5 + 0.1 * run["seed"] if run["final"] else 0.0
        rows = [
            dict(step=5, split="train", loss=1.0),
            dict(step=5, split="validation", top1=score),
        ]
        lines = [json.dumps(row) for row in rows] + ['{"step": 10, "spl']
        (folder / "metrics.jsonl").write_text("\n".join(lines))
    curves = validation_curves(found, tmp_path)
    expected = {name: {5: [0.5, 0.6]} for name in found["variants"]}
    assert curves == expected | {"sequential": {5: [0.5]}}
    axes = curves_plot(found, curves).axes[0]
    means = {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()}
    assert means["resnet"] == pytest.approx([0.55])
    assert means["sequential"] == [0.5]
