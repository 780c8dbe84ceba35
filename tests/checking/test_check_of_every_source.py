"""`--mode=check` reads every kind of source for every task that it has annotations for."""

import functools
import json

import numpy as np
import pytest
from checked_data import WRITERS
from PIL import Image

from hybrid_jax.checking.check import check
from hybrid_jax.config import changed, defaults
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.data.sources import shapes as shapes_source
from hybrid_jax.tasks import TASKS


@pytest.mark.parametrize(("task", "kind"), WRITERS, ids=map("-".join, WRITERS))
def test_data_is_counted_and_drawn(task, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HYBRID_JAX_DATA", str(tmp_path))
    few = functools.partial(shapes_source.ShapesSource, num_examples=5)
    monkeypatch.setattr(shapes_source, "ShapesSource", few)
    name = WRITERS[task, kind](tmp_path)
    config = changed(defaults("tiny"), {"data.name": name, "task.name": task})
    report = check(config, str(tmp_path / "run"))
    assert json.loads((tmp_path / "run/check.json").read_text()) == report
    assert report["problems"] == []
    assert {"train", "validation", "test"} <= report["splits"].keys()
    for split, summary in report["splits"].items():
        assert summary["readable"] == summary["examples"] > 0
        assert summary["faults"] == {}
        assert list(summary["classes"]) == report["classes"]
        assert any(of_class["images"] for of_class in summary["classes"].values())
        sheet = np.asarray(Image.open(tmp_path / f"run/check_{split}.png"))
        assert min(sheet.shape[:2]) > 300
    told = capsys.readouterr().out
    assert f"{name}: {task} of {len(report['classes'])} classes; reading " in told


def test_every_source_and_task_is_checked():
    tasks, kinds = zip(*WRITERS, strict=True)
    missing = set(SOURCES.names()) - set(kinds)
    assert not missing, f"add {missing} to WRITERS in tests/checking/checked_data.py"
    assert set(tasks) == set(TASKS.names())
