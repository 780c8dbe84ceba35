"""Where the final runs of a study look: each view beside its like, and none made up."""

import json

import pytest
from stub_study import carry_out, config
from stub_training import views_of

from hybrid_jax.data import sources
from hybrid_jax.errors import UserError
from hybrid_jax.studies.planning import readiness
from hybrid_jax.studies.planning.flops import flops_of
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.results.intervals import paired_interval
from hybrid_jax.studies.results.localization import baselines_of_view
from hybrid_jax.studies.results.table import study_table
from hybrid_jax.studies.settings import study_of

VARIANTS = {
    name: {"model.fusion": name} for name in ("resnet", "late_concat", "sequential", "vit")
}
OPTIONS = dict(
    variants=VARIANTS,
    data="shapes",
    localization=True,
    grid={"optimizer.learning_rate": (1e-3,)},
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    carry_out(path, **OPTIONS)
    return path


@pytest.fixture(scope="module")
def found(workdir):
    return json.loads((workdir / "study.json").read_text())


def energies(found, variant, view):
    """Returns the energy of a view by seed, from the stub itself."""
    views = [
        views_of(dict(model=dict(fusion=variant), seed=run["seed"]))
        for run in found["runs"]
        if run["final"] and run["variant"] == variant
    ]
    return [of_run[view]["energy_in_boxes"] for of_run in views]


def rows_of(found, variant):
    lines = study_table(found).splitlines()
    return [line for line in lines if line.startswith(f"| `{variant}` |")]


def test_every_final_run_is_scored_with_its_test_split(workdir, found):
    for run in found["runs"]:
        assert ("localization" in run["evaluations"]) == run["final"]
        if run["final"]:
            folder = workdir / "runs" / run["name"]
            scored = json.loads((folder / "experiment_localization.json").read_text())
            assert scored["eval"]["split"] == "test"
            assert run["evaluations"]["localization"]["examples"] == 90


@pytest.mark.parametrize(
    ("variant", "view", "other"),
    [
        ("sequential", "resnet", "resnet"),
        ("sequential", "transformer", "vit"),
        ("sequential", "fused", "late_concat"),
        ("late_concat", "transformer", "vit"),
    ],
)
def test_views_are_compared_with_their_like(found, variant, view, other):
    scored = found["variants"][variant]["localization"]["scores"][f"energy_{view}"]
    assert scored["baseline"] == other
    by_hand = paired_interval(energies(found, variant, view), energies(found, other, view))
    assert scored["difference"]["mean"] == pytest.approx(by_hand.mean)
    assert scored["difference"]["low"] == pytest.approx(by_hand.low)
    assert scored["difference"]["excludes_zero"] == (variant == "sequential")


def test_what_a_half_has_not_is_empty(found):
    assert set(found["variants"]["vit"]["localization"]["scores"]) == {
        "energy_transformer",
        "pointing_transformer",
    }
    row, differences = rows_of(found, "vit")[-2:]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert [bool(cell) for cell in cells] == [False, True, False, False, True, False, True]
    assert cells[-1] == "0.2500"
    # It is what the other transformers are compared with.
    assert not differences.replace("`vit`", "").strip(" |")
    assert "nan" not in study_table(found).lower()


def test_table_names_what_is_compared_and_bolds_what_was_planted(found):
    table = study_table(found)
    names = "energy_resnet less resnet | energy_transformer less vit"
    assert f"| variant | {names} | energy_fused less late_concat |" in table
    assert rows_of(found, "sequential")[-1].count("**+0.0") == 6
    assert "**" not in rows_of(found, "late_concat")[-1].split("|")[2]
    assert "in 90 images with boxes" in table
    assert "resnet is Grad-CAM, stage3; transformer is attention rollout" in table


def test_own_baseline_is_kept_where_it_has_the_view():
    study = study_of(config(**OPTIONS, baselines={"sequential": "late_concat"}))
    has = dict(sequential={1, 2}, late_concat={1, 2}, vit={1})
    found = baselines_of_view(study, set(has), has)
    assert found == dict(sequential="late_concat", late_concat="late_concat", vit="vit")


def test_it_is_asked_for_later_without_training_again(tmp_path):
    options = dict(variants={"resnet": {}}, data="shapes", seeds=(0,))
    assert "energy" not in study_table(carry_out(tmp_path, **options))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    found = carry_out(tmp_path, localization=True, **options)
    assert "energy_resnet" in study_table(found)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert before == after


def test_data_without_boxes_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(UserError, match=r"study.localization: .*'digits' have no boxes"):
        carry_out(tmp_path, localization=True)
    assert not list(tmp_path.iterdir())


def test_splits_of_the_same_data_are_opened_once(monkeypatch):
    opened = []

    def open_split(data, *, split):
        opened.append(split)
        return sources.open_split(data, split=split)

    monkeypatch.setattr(readiness, "open_split", open_split)
    lengths = readiness.lengths_of(study_of(config(**OPTIONS)))
    assert sorted(opened) == ["test", "train", "validation"]
    assert lengths.train.keys() == VARIANTS.keys()


def test_views_without_a_common_seed_have_no_difference(found):
    found = json.loads(json.dumps(found))
    found["variants"]["sequential"]["localization"]["scores"]["energy_fused"].update(
        difference=None
    )
    assert "| none |" in rows_of(found, "sequential")[-1]


def test_its_name_is_taken(tmp_path):
    evaluations = {"localization": {"eval.split": "test"}}
    with pytest.raises(UserError, match="'localization' is the name of another score"):
        carry_out(tmp_path, evaluations=evaluations)


def test_a_pass_with_gradients_counts():
    one = {"resnet": {"model.fusion": "resnet"}}
    sizes = {"resnet": (Size(1000, 2000), Size(1000, 3000))}
    amounts = []
    for asked in (False, True):
        study = study_of(config(variants=one, data="shapes", localization=asked))
        amounts.append(
            flops_of(study, sizes, readiness.lengths_of(study))["resnet"].scoring
        )
    assert amounts[1] == amounts[0] * (1 + 3)
