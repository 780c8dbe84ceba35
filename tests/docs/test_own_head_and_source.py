"""CONTRIBUTING.md's head and data source work as they stand."""

import os
import sys

import documents
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_run

from hybrid_jax.checking.check import check
from hybrid_jax.config import changed, defaults
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import create_model


def _block(word: str) -> str:
    python = documents.blocks(documents.PAGES["CONTRIBUTING.md"], "python")
    (block,) = [block for block in python if f"class {word}" in block]
    return block


def _defined(word: str, registry, monkeypatch) -> None:
    registry.names()
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    exec(compile(_block(word), "own.py", "exec"), {"__name__": "own"})


def test_source_is_read_and_its_labels_are_checked(tmp_path, monkeypatch):
    _defined("NpySource", SOURCES, monkeypatch)
    for seed, split in enumerate(("train", "validation", "test")):
        images = np.random.default_rng(seed).integers(0, 256, (4, 9, 7, 3), np.uint8)
        np.save(tmp_path / f"{split}_images.npy", images)
        np.save(tmp_path / f"{split}_labels.npy", np.arange(4) % 2)
    config = changed(defaults("tiny"), {"data.name": f"npy:{tmp_path}"})
    report = check(config, str(tmp_path / "run"))
    assert report["problems"] == []
    classes = {"cat": {"images": 2}, "dog": {"images": 2}}
    assert [s["classes"] for s in report["splits"].values()] == [classes] * 3


def test_head_gives_logits(monkeypatch):
    _defined("MyHead", HEADS, monkeypatch)

    def outputs(images):
        model = create_model("tiny", num_classes=5, head="my_head", dtype="bfloat16")
        return model(images)

    logits = jax.eval_shape(outputs, jnp.zeros((2, 33, 40, 3))).logits
    assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)


@pytest.mark.slow
def test_head_is_tested_like_all_others(tmp_path):
    (tmp_path / "own_head.py").write_text(_block("MyHead"))
    environment = os.environ | {"PYTHONPATH": f"{documents.ROOT}{os.pathsep}{tmp_path}"}
    words = [sys.executable, "-m", "pytest", "-p", "own_head", "-n", "0"]
    words += ["tests/models/test_every_head.py", "-k", "my_head"]
    done = small_run.run_well(words, env=environment, cwd=documents.ROOT)
    assert "5 passed" in done.stdout
