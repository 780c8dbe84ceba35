"""The tables of the tips are made of the results that lie in the repository."""

import json

import pytest
import tip_tables

PAGE = tip_tables.DOCS / "tips.md"
RATE = "optimizer.learning_rate"


def _variant(mean, *, low, rate=1e-3, changes=None, pairs=3):
    difference = low and {
        "mean": low + 0.01,
        "low": low,
        "high": low + 0.02,
        "pairs": pairs,
        "excludes_zero": low > 0,
    }
    return {
        "changes": changes or {},
        "params": 1_234_567,
        "setting": {RATE: rate},
        "mean": mean,
        "deviation": None if mean is None else 0.0102,
        "difference": difference,
        "evaluations": {
            "noise": {"mean": 0.2, "deviation": 0.01, "difference": difference}
        },
        "time": {"images_per_second": 99.6},
    }


def _trial(variant, rate, score):
    status = "finished" if score is not None else "diverged"
    return {
        "variant": variant,
        "trial": True,
        "setting": {RATE: rate},
        "validation": {"status": status, "score": score},
    }


STUDY = {
    "seeds": [0, 1, 2],
    "test_split": "test",
    "score": "top1",
    "baseline": "resnet",
    "evaluations": {"noise": {}},
    "variants": {
        "resnet": _variant(0.5, low=None),
        "better": _variant(0.6, low=0.09, rate=4e-3),
        "lost": _variant(None, low=None),
    },
    "runs": [_trial("resnet", 1e-3, 0.51), _trial("lost", 4e-3, None)],
}


def test_page_has_the_tables_of_the_results():
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- table ") == page.count("<!-- end of table -->") >= 3
    assert tip_tables.page(page) == page, "run python docs/tip_tables.py"


def test_scores_are_sorted_and_bold_where_the_interval_excludes_zero():
    assert tip_tables.markdown(tip_tables.scores(STUDY)).splitlines() == [
        "| variant | rate | M params | images/s | test top-1 | less `resnet` |",
        "|---|---:|---:|---:|---:|---:|",
        "| `better` | 4e-3 | 1.235 | 100 | 0.600 ± 0.010 | **+0.100 [+0.090, +0.110]** |",
        "| `resnet` | 1e-3 | 1.235 | 100 | 0.500 ± 0.010 |  |",
        "| `lost` | 1e-3 | 1.235 | 100 | – |  |",
    ]


def test_nothing_is_bold_before_every_seed_has_finished():
    variants = {
        "resnet": _variant(0.5, low=None),
        "better": _variant(0.6, low=0.09, pairs=2),
    }
    table = tip_tables.markdown(tip_tables.scores(STUDY | {"variants": variants}))
    assert "+0.100 [+0.090, +0.110]" in table
    assert "**" not in table


def test_trials_say_which_diverged():
    assert tip_tables.trials(STUDY) == [
        ["variant", "1e-3", "4e-3"],
        ["`better`", "", ""],
        ["`resnet`", "0.510", ""],
        ["`lost`", "", "diverged"],
    ]


def test_evaluations_are_beside_the_test_score():
    assert tip_tables.evaluations(STUDY)[:2] == [
        ["variant", "test", "noise"],
        ["`better`", "0.600 ± 0.010", "**0.200 ± 0.010**"],
    ]


def test_amounts_have_a_column_for_each_share():
    share = "data.train_fraction"
    variants = {
        name: _variant(mean, low=low, changes={"model.fusion": name[:3], share: part})
        for name, mean, low, part in (
            ("vit_all", 0.5, -0.1, 1.0),
            ("vit_few", 0.3, 0.05, 0.02),
            ("res_all", 0.6, None, 1.0),
        )
    }
    with pytest.raises(KeyError):  # a table without a gap is what the study makes
        tip_tables.amounts(STUDY | {"variants": variants})
    variants["res_few"] = _variant(
        0.2, low=None, changes={"model.fusion": "res", share: 0.02}
    )
    assert tip_tables.amounts(STUDY | {"variants": variants}) == [
        ["fusion", "2 %", "100 %"],
        ["`vit`", "**0.300 ± 0.010**", "0.500 ± 0.010"],
        ["`res`", "0.200 ± 0.010", "0.600 ± 0.010"],
    ]


def test_views_that_a_variant_lacks_are_empty():
    both = {
        "energy_transformer": _variant(0.6, low=0.1),
        "energy_resnet": _variant(0.4, low=0),
    }
    variants = {
        "hybrid": _variant(0.5, low=None) | {"localization": {"scores": both}},
        "resnet": _variant(0.6, low=None)
        | {"localization": {"scores": {"energy_resnet": _variant(0.5, low=None)}}},
    }
    assert tip_tables.views(STUDY | {"variants": variants}) == [
        ["variant", "energy resnet", "energy transformer"],
        ["`resnet`", "0.500 ± 0.010", ""],
        ["`hybrid`", "0.400 ± 0.010", "**0.600 ± 0.010**"],
    ]


def test_every_result_file_is_read_by_a_table_or_named_in_the_page():
    page = PAGE.read_text(encoding="utf-8")
    for path in tip_tables.RESULTS.rglob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))
        file = path.relative_to(tip_tables.RESULTS).with_suffix("").as_posix()
        assert f" {file} -->" in page or path.name in page, path
