"""What a plan says a study costs, and how tables are drawn."""

import io

import pytest
import stub_study
from rich.console import Console
from stub_study import carry_out

from hybrid_jax.plot_look import ABSENT
from hybrid_jax.studies.planning.flops import flops_of
from hybrid_jax.studies.planning.plan_table import plan_notes, plan_rows
from hybrid_jax.studies.planning.readiness import lengths_of
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.results.shown import aligned, draw
from hybrid_jax.studies.settings import study_of

ONE = {"resnet": {"model.fusion": "resnet"}}
SIZES = {"resnet": (Size(1000, 2000), Size(1000, 3000))}


def planned(*, seeds=(0, 1, 2), **options):
    study = study_of(stub_study.config(variants=ONE, seeds=seeds, **options))
    return study, lengths_of(study)


def test_arithmetic_is_that_of_all_runs_by_hand():
    study, lengths = planned()
    flops = flops_of(study, SIZES, lengths)["resnet"]
    # 10 steps of 8 images; both rates, and two more seeds of the first.
    assert flops.training == 2 * 3 * 80 * (2000 + 3000 + 2 * 2000)
    assert flops.validation == 2 * 177 * (2000 + 3000 + 2 * 2000)
    assert flops.scoring == 2 * 176 * 2000 * 3
    assert flops.total == flops.training + flops.validation + flops.scoring


def test_suites_and_sizes_of_evaluations_count():
    plain = flops_of(*reordered(planned()))["resnet"]
    large = flops_of(*reordered(planned(evaluations={"x": {"eval.image_size": 32}})))
    assert large["resnet"].scoring == plain.scoring * (1 + (32 / 16) ** 2)
    # docs/robustness.md: a clean pass, 15 of occlusion, and five gradients.
    hidden = flops_of(*reordered(planned(suites=("occlusion",))))["resnet"]
    assert hidden.scoring == plain.scoring * (1 + 1 + 15 + 5 * 3)
    attacked = flops_of(*reordered(planned(suites=("attacks",))))["resnet"]
    assert attacked.scoring == plain.scoring * (1 + 1 + 140)


def reordered(pair):
    study, lengths = pair
    return study, SIZES, lengths


def test_share_of_the_data_shortens_epochs():
    config = stub_study.config(variants=ONE | {"less": {"data.train_fraction": 0.1}})
    config.train.update(steps=None, epochs=1.0)
    study = study_of(config)
    sizes = dict.fromkeys(study.variants, SIZES["resnet"])
    flops = flops_of(study, sizes, lengths_of(study))
    # 1,444 and 149 images in steps of 8.
    assert flops["less"].training / flops["resnet"].training == 18 / 180


def test_plan_tells_arithmetic_and_what_is_counted():
    study, lengths = planned()
    rows = plan_rows(study, SIZES, lengths)
    assert rows[0][-1] == "TFLOP"
    assert rows[1][:3] == ["resnet (baseline)", "1,000", "0.0000"]
    notes = "\n".join(plan_notes(study, SIZES, lengths, times=None, fault=""))
    assert "TFLOP in all (training" in notes
    assert "2 for each multiply-accumulate" in notes
    assert "--config.study.probe measures it" in notes


@pytest.mark.parametrize(
    ("seeds", "told"),
    [((0, 1, 2), "with seeds 0, 1, 2, then"), ((3,), "with seed 3, then")],
)
def test_plan_names_the_seeds_of_the_chosen_settings(seeds, told):
    study, lengths = planned(seeds=seeds)
    assert told in plan_notes(study, SIZES, lengths, times=None, fault="")[0]


def test_study_whose_data_are_gone_can_be_planned_and_written_again(tmp_path, capsys):
    file = tmp_path / "data"
    options = dict(variants=ONE, seeds=(0,), data=f"folder:{file}")
    assert carry_out(tmp_path / "study", plan_only=True, **options) is None
    out = capsys.readouterr().out
    assert "nor the classes that sizes depend on: data" in out
    with pytest.raises(Exception, match="there is no folder"):
        carry_out(tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()
    for split in ("train", "validation", "test"):
        (file / split / "a").mkdir(parents=True)
        (file / split / "a" / "1.png").touch()
    found = carry_out(tmp_path / "study", **options)
    file.rename(tmp_path / "elsewhere")
    assert carry_out(tmp_path / "study", **options) == found


ROWS = [["variant", "setting", "n"], ["`a`", "x=1", "**+0.5**"], ["`bcd`", "", "12"]]


def test_tables_are_drawn_on_a_terminal_and_aligned_in_a_pipe():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=60, color_system="standard")
    draw([ROWS], "**one** of `two`", console=console)
    drawn = file.getvalue()
    assert "\x1b[1m+0.5\x1b[0m" in drawn
    assert "*" not in drawn
    assert "`" not in drawn
    assert "│ bcd     │         │   12 │" in drawn  # numbers to the right
    assert "\x1b[1mone\x1b[0m of two" in drawn
    lines = aligned([["variant", "n"], ["a", "1,000"], ["bcd", "12"]]).splitlines()
    assert lines == ["variant      n", "a        1,000", "bcd         12"]


@pytest.mark.parametrize("installed", [True, False])
def test_plan_says_where_there_will_be_no_plots(monkeypatch, installed):
    spec = object() if installed else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    study, lengths = planned()
    notes = plan_notes(study, SIZES, lengths, times=None, fault="")
    assert (ABSENT in notes) != installed
