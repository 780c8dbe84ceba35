"""`study.json` and `study.md` of stub runs whose truth is known."""

import pytest
import stub_study
from stub_study import carry_out

from hybrid_jax.config_files import folder, study_lines
from hybrid_jax.data.sources.digits import DigitsSource
from hybrid_jax.errors import UserError
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.results.plots.cost_plot import cost_plot
from hybrid_jax.studies.results.report import report
from hybrid_jax.studies.results.table import study_table
from hybrid_jax.studies.settings import study_of
from hybrid_jax.studies.study_keys import study_keys


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return carry_out(tmp_path_factory.mktemp("study"))


def row(found, name):
    lines = study_table(found).splitlines()
    return next(line for line in lines if line.startswith(f"| `{name}`"))


def test_planted_difference_is_bold_and_none_is_not(found):
    planted = found["variants"]["sequential"]["difference"]
    assert planted["mean"] == pytest.approx(0.02, abs=0.005)
    assert planted["low"] > 0
    assert "**+0.0" in row(found, "sequential")
    none = found["variants"]["late_concat"]["difference"]
    assert none["low"] < 0 < none["high"]
    assert "**" not in row(found, "late_concat")
    assert "**" not in row(found, "resnet")


def test_best_rate_of_validation_is_taken(found):
    for variant in found["variants"].values():
        assert variant["setting"] == {"optimizer.learning_rate": 1e-3}
    assert "optimizer.learning_rate=0.001 is at the end of its grid" in study_table(found)


def test_every_run_is_listed_with_its_scores(found):
    assert len(found["runs"]) == 12
    assert sum(run["trial"] for run in found["runs"]) == 6
    final = [run for run in found["runs"] if run["final"]]
    assert len(final) == 9
    assert all(run["test"]["status"] == "finished" for run in final)
    assert all(run["test"] is None for run in found["runs"] if not run["final"])


def by_hand(*, missing, **options):
    """Returns a report in which seeds of the planted variant have diverged."""
    variants = {"resnet": {}, "other": {}}
    study = study_of(stub_study.config(variants=variants, **options))
    time = dict(seconds=3.0, resumed=False)
    good, bad = dict(status="finished", time=time), dict(status="diverged", time=time)

    def outcome(variant, seed):
        run = type("Run", (), dict(name=f"{variant}{seed}", variant=variant, seed=seed))
        run.setting = {}
        if (variant, seed) in missing:
            return run, bad | dict(score=None), {}
        score = 0.5 + 0.1 * (variant == "other") + 0.001 * seed * (variant == "other")
        scored = good | dict(score=score, scores=dict(count=176.0))
        return run, scored, dict(test=scored)

    setting = study.settings["resnet"][0]
    size = Size(1, 1)
    return report(
        study,
        sizes=dict(resnet=(size, size), other=(size, size)),
        chosen=dict(resnet=setting, other=setting),
        tried=[],
        final=[outcome(name, seed) for name in study.variants for seed in study.seeds],
    )


def test_what_is_left_of_a_variant_that_diverges_is_not_bold():
    assert "**+0.1" in row(by_hand(missing=()), "other")
    text = row(by_hand(missing=[("other", 3)]), "other")
    assert "4 of 5, 1 diverged" in text
    assert "**" not in text


def test_limits_of_intervals_and_times_are_told():
    text = study_table(by_hand(missing=()))
    assert "of 5 seeds, not of the 176 images of `test`" in text
    assert "One image is 0.6 points." in text
    assert "`s` is the mean time in seconds" in text


def test_one_seed_has_neither_deviation_nor_interval():
    found = by_hand(missing=(), seeds=(3,))
    text, other = study_table(found), row(found, "other")
    assert "±" not in text
    assert "| 0.6030 | +0.1030 (no interval) |" in other
    assert "the chosen setting was scored once on `test`, with that seed alone." in text
    assert "Differences from `resnet` are of one run each, which has no interval" in text
    assert "Scores are of the 176 images of `test`" in text
    title = cost_plot(found, cost="macs").axes[0].get_title()
    assert title == "test top1, seed 3"


def test_several_seeds_have_a_deviation():
    text = study_table(by_hand(missing=(), seeds=(0, 1)))
    assert "ran with seeds 0, 1 and was scored once on `test`: mean ± standard" in text
    assert "0.6005 ± 0.0007 |" in text


def test_one_baseline_that_is_not_the_first_is_named():
    found = by_hand(missing=()) | dict(baseline="another")
    assert "Differences from `resnet` are" in study_table(found)


def test_pairs_are_of_equal_seeds():
    found = by_hand(missing=[("other", 0), ("resnet", 4)])
    assert found["variants"]["other"]["difference"]["pairs"] == 3
    # Seeds 1, 2, 3 remain.
    assert found["variants"]["other"]["difference"]["mean"] == pytest.approx(0.102)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(baseline="resnt"), "no variant 'resnt'. Did you mean 'resnet'?"),
        (dict(seeds=(1, 1)), "expected different seeds"),
        (dict(matched="size"), "expected one of params, macs, time, none, got 'size'"),
        (dict(jobs=0), "jobs of 1 or more"),
        (dict(shard="3/2"), "expected i/n"),
        (dict(test_split="validation"), "three different splits"),
        (dict(grids={"vit": {}}), "config.study.grids: no variant 'vit'"),
        (
            dict(grids={"resnet": {"optimizer.learning_rate": (1.0,)}}),
            "as many trials as every other",
        ),
        (dict(grid={"optimizer.learning_rat": (1.0,)}), "no key 'optimizer.learning_rat'"),
        (dict(variants={"resnet": {"model.fusin": 1}}), "no key 'model.fusin'"),
        (dict(variants={"resnet": {}, "a/b": {}}), "name 'a/b': expected letters"),
        (dict(evaluations={"a.b": {}}), "name 'a.b': expected letters"),
        (dict(evaluations={"test": {}}), "the name of study.test_split"),
        (dict(evaluations={"x": {"eval.spilt": "test"}}), "no key 'eval.spilt'"),
        (dict(evaluations={"x": {"train.steps": 1}}), "can be scored with"),
        (dict(job=2), "unknown option 'job'. Did you mean 'jobs'?"),
    ],
)
def test_unfair_or_mistaken_studies_are_refused(tmp_path, options, expected):
    with pytest.raises(UserError, match=expected.replace("?", r"\?")):
        carry_out(tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(baselines={"vti": "resnet"}), "no variant 'vti'"),
        (
            dict(baselines={"late_concat": "sequential", "sequential": "resnet"}),
            "'late_concat' is compared with 'sequential', so that one cannot be",
        ),
        (dict(evaluations={"x": {"eval.split": "test_fog"}}), "evaluation 'x': .*test_fog"),
        (dict(test_split="held_out"), "evaluation 'held_out': .*'held_out'"),
        (
            dict(variants={"resnet": {}, "other": {"data.train_split": "more"}}),
            "variant 'other': .*'more'",
        ),
        (
            dict(variants={"resnet": {}, "other": {"model.pretrained_vit": "no.npz"}}),
            "variant 'other', model.pretrained_vit: .*'no.npz'",
        ),
    ],
)
@pytest.mark.parametrize("plan_only", [False, True])
def test_what_is_missing_is_found_before_anything_runs(
    tmp_path, options, expected, plan_only
):
    with pytest.raises(UserError, match=expected):
        carry_out(tmp_path, plan_only=plan_only, **options)
    assert not list(tmp_path.iterdir())


def test_split_whose_labels_are_kept_secret_is_found_before_anything_runs(
    tmp_path, monkeypatch
):
    class Secret(DigitsSource):
        def __getitem__(self, index):
            return super().__getitem__(index) | {"label": -1}

    def opened(name, *, split):
        assert name == "digits"
        return (Secret if split == "test" else DigitsSource)(split=split)

    monkeypatch.setattr("hybrid_jax.data.sources.open_source", opened)
    expected = "evaluation 'test': .*expected an integer from 0 to 9 .*got -1"
    with pytest.raises(UserError, match=expected):
        carry_out(tmp_path)
    assert not list(tmp_path.iterdir())


def test_evaluations_every_0_steps_are_refused():
    config = stub_study.config(evaluations={})
    config.eval.every = 0
    with pytest.raises(UserError, match="config.eval.every: expected"):
        study_of(config)


@pytest.mark.parametrize("key", ["steps", "batch_size"])
def test_what_hardware_would_decide_must_be_set(key):
    config = stub_study.config()
    config.train[key] = None
    with pytest.raises(UserError, match=f"leaves train.{key} to the hardware"):
        study_of(config)


def test_plan_only_runs_nothing(tmp_path, capsys):
    assert carry_out(tmp_path, plan_only=True) is None
    assert not list(tmp_path.iterdir())
    assert "12 runs, 4 at a time" in capsys.readouterr().out


def test_probe_tells_the_time_of_the_runs(tmp_path, capsys):
    carry_out(tmp_path, plan_only=True, probe=True)
    # 3 s to start, 10 steps of 8 images at 100 a second: 3.8 s, 12 runs, 4 at a time.
    printed = capsys.readouterr().out
    assert "a run of late_concat: about 4 s" in printed
    assert "all runs: about 0.2 min" in printed
    assert not (tmp_path / "runs").exists()


def test_studies_have_names_and_lines():
    assert study_lines().keys() == {
        f"studies/{path.stem}" for path in (folder() / "studies").glob("*.py")
    }
    assert all(study_lines().values())


def test_page_has_every_key():
    page = (folder().parent / "docs" / "studies.md").read_text()
    missing = [key for key in study_keys() if f"`{key}`" not in page]
    assert not missing
