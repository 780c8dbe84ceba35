"""CONTRIBUTING.md's fusion, registered in one's own config file, trains as it stands."""

import json
import os
import sys

import documents
import pytest
import small_run

TINY = {
    "train.steps": 2,
    "train.batch_size": 8,
    "data.image_size": 32,
    "model.resnet_options.blocks": "(1,1)",
    "model.resnet_options.width": 32,
    "model.vit_options.depth": 1,
    "log.every": 1,
    "log.tensorboard": False,
    "log.report_page": False,
}


@pytest.fixture
def experiment(tmp_path):
    """The file that CONTRIBUTING.md describes: its fusion, then its config."""
    python = documents.blocks(documents.PAGES["CONTRIBUTING.md"], "python")
    (fusion,) = [block for block in python if "class MyFusion" in block]
    (config,) = [block for block in python if "def get_config" in block]
    path = tmp_path / "my_experiment.py"
    path.write_text(fusion + config)
    return path


def test_fusion_of_a_config_file_trains(experiment, tmp_path):
    workdir = tmp_path / "run"
    changes = [f"--config.{name}={value}" for name, value in TINY.items()]
    words = [sys.executable, "-m", "hybrid_jax.main", f"--config={experiment}", *changes]
    done = small_run.run_well([*words, f"--workdir={workdir}"])
    assert "my_fusion: " in done.stdout
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2]
    config = json.loads((workdir / "config.json").read_text())
    assert config["model"]["fusion"] == "my_fusion"


@pytest.mark.slow
def test_fusion_of_a_config_file_is_tested_like_all_others(experiment):
    environment = os.environ | {
        "PYTHONPATH": f"{documents.ROOT}{os.pathsep}{experiment.parent}"
    }
    words = [sys.executable, "-m", "pytest", "-p", "my_experiment", "-n", "0"]
    words += ["tests/models/test_every_fusion.py", "-k", "my_fusion"]
    done = small_run.run_well(words, env=environment, cwd=documents.ROOT)
    assert "passed" in done.stdout
    assert "failed" not in done.stdout
