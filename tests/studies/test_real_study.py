"""A study of real training runs, from the command line to its tables."""

import json
import sys

import pytest
from small_run import ROOT, environment, run_well

STUDY = """
import sys

sys.path.insert(0, {tests!r})
import small_experiment
from hybrid_jax.studies.study_config import study_config


def get_config():
    base = small_experiment.get_config()
    base.train.steps = 6
    base.eval.every = base.checkpoint.every = 3
    return study_config(
        base,
        variants={{
            "sequential": {{"model.fusion": "sequential"}},
            "vit": {{"model.fusion": "vit", "model.vit_options.patch_size": 4}},
        }},
        grid={{"optimizer.learning_rate": (1e-3, 1e30)}},
        seeds=(0, 1),
        matched="none",
    )
"""


MAIN = [sys.executable, "-m", "hybrid_jax.main"]


@pytest.mark.slow
def test_study_of_two_variants_two_rates_and_two_seeds(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(STUDY.format(tests=str(ROOT / "tests")))
    workdir = tmp_path / "study"
    words = [*MAIN, "--mode=study", f"--config={file}", f"--workdir={workdir}"]
    plan = run_well([*words, "--config.study.plan_only"], env=environment())
    assert "6 runs, 1 at a time" in plan.stdout
    assert not workdir.exists()
    done = run_well([*words, "--config.study.jobs=2"], env=environment())
    found = json.loads((workdir / "study.json").read_text())
    statuses = [run["validation"]["status"] for run in found["runs"]]
    assert sorted(statuses) == ["diverged"] * 2 + ["finished"] * 4
    for variant in found["variants"].values():
        assert variant["setting"] == {"optimizer.learning_rate": 1e-3}
        assert variant["outcomes"]["final"] == dict(finished=2)
    for run in found["runs"]:
        if run["final"]:
            scored = json.loads(
                (workdir / "runs" / run["name"] / "evaluation_test.json").read_text()
            )
            assert scored["count"] == 176
            assert scored["top1"] == run["test"]["score"]
    assert (workdir / "study.md").read_text() in done.stdout
    run_well(words, env=environment())
    again = json.loads((workdir / "study.json").read_text())
    assert again == found
