"""Variants with a baseline of their own."""

import pytest
from stub_study import carry_out

from hybrid_jax.studies.results.table import study_table

PAIRS = {
    f"{fusion}{ending}": {"model.fusion": fusion, "data.train_fraction": share}
    for ending, share in {"": 1.0, "_less": 0.5}.items()
    for fusion in ("resnet", "sequential")
}


def test_difference_is_from_the_own_baseline(tmp_path):
    found = carry_out(
        tmp_path,
        variants=PAIRS,
        grid={"optimizer.learning_rate": (1e-3,)},
        baselines={"sequential_less": "resnet_less"},
    )
    scores = {name: {} for name in PAIRS}
    for run in found["runs"]:
        scores[run["variant"]][run["seed"]] = run["test"]["score"]
    for name, baseline in (
        ("sequential", "resnet"),
        ("sequential_less", "resnet_less"),
    ):
        pairs = [scores[name][s] - scores[baseline][s] for s in range(3)]
        difference = found["variants"][name]["difference"]
        assert difference["mean"] == pytest.approx(sum(pairs) / 3)
        assert found["variants"][baseline]["difference"] is None
    table = study_table(found)
    assert "| less its baseline |" in table
    assert "`resnet_less` (for `sequential_less`)" in table
