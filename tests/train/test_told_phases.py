"""What a run tells of its long phases: one line before each, nothing once it has ended."""

import threading

import pytest
from recorded_heartbeat import Recorded
from small_run import small_config
from toy_task import ONE_BLOCK

from hybrid_jax.train import loop
from hybrid_jax.train.loop import train

pytestmark = pytest.mark.usefixtures("one_device")


def test_long_phases_are_told(tmp_path, monkeypatch, capsys):
    heartbeat = Recorded()
    monkeypatch.setattr(loop, "Heartbeat", lambda: heartbeat)
    keys = {"train.steps": 4, "log.every": 3, "eval.every": 2, "log.progress": False}
    keys = ONE_BLOCK | keys
    train(small_config(keys), str(tmp_path))
    assert heartbeat.phases == [
        "opening the data and laying out the model",
        "looking at the data",
        "looking for a checkpoint and restoring it",
        "compiling the initialization and running it",
        "",
        "reading the first batch and compiling the training step",
        "running the first step",
        "training, step 1",
        "reading validation and compiling its evaluation",
        "",
        "evaluating validation, batch 0 of 3",
        "",
    ]
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
    lines = capsys.readouterr().out.splitlines()
    begin = [line.partition(" in ")[0] for line in lines].index("initialized")
    assert lines[begin].endswith("; compiling the training step: seconds to minutes, once")
    assert lines[begin + 1].endswith(" s; the first row comes with step 3")
    assert lines[begin + 2] == "step 2  compiling the evaluation: seconds to minutes, once"
    starts = [" ".join(line.split()[:2]) for line in lines[begin + 3 :]]
    assert starts[:4] == ["step 2", "step 3/4", "step 4/4", "step 4"]
    heartbeat.phases.clear()
    train(small_config(keys), str(tmp_path))
    assert heartbeat.phases[2:4] == ["looking for a checkpoint and restoring it", ""]
