"""More scores of the final runs of a study than that of the test split."""

import json

import pytest
from stub_study import VARIANTS, carry_out
from stub_training import scores_of

from hybrid_jax.errors import UserError
from hybrid_jax.studies.results.intervals import paired_interval
from hybrid_jax.studies.results.table import study_table

EVALUATIONS = {
    "noise": {"eval.split": "test_noise"},
    "large": {"eval.image_size": 24},
}
FEW = dict(data="shapes")
ONE_RATE = {"optimizer.learning_rate": (1e-3,)}
TWO = {name: VARIANTS[name] for name in ("resnet", "sequential")}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    carry_out(path, evaluations=EVALUATIONS, **FEW)
    return path


def test_each_final_run_is_scored_on_its_split(workdir):
    found = json.loads((workdir / "study.json").read_text())
    for run in found["runs"]:
        if not run["final"]:
            assert run["evaluations"] == {}
            continue
        experiment = json.loads(
            (workdir / "runs" / run["name"] / "experiment_noise.json").read_text()
        )
        expected = scores_of(experiment, "test_noise")["top1"]
        assert run["evaluations"]["noise"]["score"] == expected
        assert run["evaluations"]["noise"]["score"] != run["test"]["score"]


def test_changes_reach_the_scoring_alone(workdir):
    found = json.loads((workdir / "study.json").read_text())
    final = next(run for run in found["runs"] if run["final"])
    folder = workdir / "runs" / final["name"]
    scored = json.loads((folder / "experiment_large.json").read_text())
    trained = json.loads((folder / "experiment.json").read_text())
    assert scored["eval"]["image_size"] == 24
    assert scored["eval"]["split"] == "test"
    assert trained["eval"]["image_size"] is None
    assert trained["eval"]["split"] == "validation"


def test_table_has_a_column_for_each(workdir):
    found = json.loads((workdir / "study.json").read_text())
    table = study_table(found)
    assert "| variant | large | noise |" in table
    planted = found["variants"]["sequential"]["evaluations"]["noise"]
    text = f"{planted['mean']:.4f} ± {planted['deviation']:.4f} |"
    assert rows_of(table, "sequential")[1].endswith(text)
    assert "`large` is with eval.image_size=24, eval.split=test" in table


def rows_of(table, variant):
    return [line for line in table.splitlines() if line.startswith(f"| `{variant}` |")]


def test_differences_of_evaluations_are_paired_and_bold_where_they_exclude_zero(workdir):
    found = json.loads((workdir / "study.json").read_text())
    table = study_table(found)
    assert "| less resnet | large | noise |" in table
    scores = {"sequential": [], "resnet": []}
    for run in found["runs"]:
        if run["final"] and run["variant"] in scores:
            scores[run["variant"]].append(run["evaluations"]["noise"]["score"])
    by_hand = paired_interval(scores["sequential"], scores["resnet"])
    expected = f"**{by_hand.mean:+.4f} [{by_hand.low:+.4f}, {by_hand.high:+.4f}]**"
    assert rows_of(table, "sequential")[2].endswith(f"| {expected} |")
    assert rows_of(table, "resnet")[2] == "| `resnet` |  |  |"
    assert "**" not in rows_of(table, "late_concat")[2]
    assert "**" not in "".join(rows_of(table, "sequential")[1])


def test_an_evaluation_added_later_trains_nothing_again(workdir):
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("result.json")}
    found = carry_out(
        workdir,
        evaluations=EVALUATIONS | {"bars": {"eval.split": "test_bars"}},
        **FEW,
    )
    assert before == {
        path: path.stat().st_mtime_ns for path in workdir.rglob("result.json")
    }
    assert found["variants"]["resnet"]["evaluations"]["bars"]["mean"] is not None


def test_suites_are_evaluations_of_one_process(tmp_path):
    suites = ("rotation", "occlusion")
    options = dict(variants=TWO, grid=ONE_RATE, seeds=(0, 1))
    found = carry_out(tmp_path, suites=suites, **options)
    for run in found["runs"]:
        if not run["final"]:
            continue
        folder = tmp_path / "runs" / run["name"]
        experiment = json.loads((folder / "experiment_robustness.json").read_text())
        assert experiment["eval"]["split"] == "test"
        assert len((folder / "startstest.txt").read_text().splitlines()) == 2
        for suite in ("rotation", "occlusion"):
            expected = scores_of(experiment, suite)["top1"]
            assert run["evaluations"][suite]["score"] == pytest.approx(expected)
    assert "| variant | rotation | occlusion |" in study_table(found)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(suites=("rotatoin",)), "Did you mean 'rotation'"),
        (
            dict(suites=("noise",), evaluations={"noise": {"eval.split": "x"}}),
            "'noise' is the name of a suite",
        ),
        (dict(suites="rotation"), r"suites: expected a list of names, got 'rotation'"),
        (dict(evaluations={"two": {"eval.split": "test,bars"}}), "'two': expected one"),
        (
            dict(evaluations={"none": {"eval.image_size": 0}}),
            "'none': config.eval.image_size: expected a positive side",
        ),
    ],
)
def test_mistaken_suites_and_evaluations_are_refused(tmp_path, options, expected):
    with pytest.raises(UserError, match=expected):
        carry_out(tmp_path, **options)


def test_what_an_evaluation_was_before_is_not_its_result(tmp_path):
    options = dict(data="shapes", variants={"resnet": {}}, grid=ONE_RATE, seeds=(0,))
    first = dict(evaluations={"shift": {"eval.split": "test_noise"}}, suites=("rotation",))
    carry_out(tmp_path, **first, **options)
    then = dict(evaluations={"shift": {"eval.split": "test_bars"}}, suites=("occlusion",))
    [run] = carry_out(tmp_path, **then, **options)["runs"]
    folder = tmp_path / "runs" / run["name"]
    experiment = json.loads((folder / "experiment.json").read_text())
    for name, split in {"shift": "test_bars", "occlusion": "occlusion"}.items():
        expected = scores_of(experiment, split)["top1"]
        assert run["evaluations"][name]["score"] == pytest.approx(expected)
    # The test split itself, and the suites twice.
    assert len((folder / "startstest.txt").read_text().splitlines()) == 3


def test_each_evaluation_has_a_file_of_its_own(workdir):
    found = json.loads((workdir / "study.json").read_text())
    for run in (run for run in found["runs"] if run["final"]):
        folder = workdir / "runs" / run["name"]
        for name, scored in (("test", run["test"]), *run["evaluations"].items()):
            written = json.loads((folder / f"evaluation_{name}.json").read_text())
            assert written["top1"] == scored["score"]


def test_mean_of_a_suite_that_is_no_number_is_shown_as_such(tmp_path, monkeypatch):
    # The stub gives one pass of this suite no number, for the first seed.
    monkeypatch.setenv("STUB_NAN", "occlusion 1")
    options = dict(variants=TWO, grid=ONE_RATE, suites=("rotation", "occlusion"))
    found = carry_out(tmp_path, **options)
    json.loads((tmp_path / "study.json").read_text(), parse_constant=pytest.fail)
    scored = found["variants"]["sequential"]["evaluations"]["occlusion"]
    assert scored["mean"] is None
    table = study_table(found)
    assert rows_of(table, "sequential")[1].endswith("| NaN in 1 of 3 |")
    assert rows_of(table, "sequential")[2].endswith("| none |")
    assert found["variants"]["sequential"]["evaluations"]["rotation"]["mean"] is not None
