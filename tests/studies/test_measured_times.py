"""Variants that are matched in the time of a training step."""

import json
import subprocess
import sys
import time

import pytest
import stub_study
from small_run import ROOT
from stub_study import carry_out

from hybrid_jax.errors import UserError
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.running.run_lock import RunLock

PAIR = {
    "resnet": {"model.fusion": "resnet"},
    "vit": {"model.fusion": "vit", "model.vit_options.depth": 4},
}
OPTIONS = dict(variants=PAIR, matched="time", seeds=(0,))


def size(experiment):
    """A block of the ViT has 500 multiply-accumulates."""
    if experiment.model.fusion == "resnet":
        return Size(1000, 1000)
    return Size(1000, 500 * experiment.model.vit_options.depth)


def probes(workdir):
    files = workdir.glob("probe/*/starts.txt")
    return {f.parent.name: len(f.read_text().splitlines()) for f in files}


def slow(monkeypatch, factor):
    """Makes steps of the ViT take so many times those of the ResNet, 80 ms."""
    monkeypatch.setenv("STUB_SPEED", f"vit {100 / factor}")


def test_unequal_times_are_refused_with_what_would_be_equal(tmp_path, monkeypatch):
    slow(monkeypatch, 2.0)
    with pytest.raises(UserError) as refused:
        carry_out(tmp_path, measure=size, **OPTIONS)
    text = str(refused.value)
    assert "not matched in time; the baseline 'resnet' has 80.0 ms" in text
    assert "vit: 160.0 ms (+100.0%)" in text
    assert "nearest is model.vit_options.depth=2 with an expected 80.0 ms (+0.0%)" in text
    assert not (tmp_path / "runs").exists()


def test_equal_times_are_measured_once_and_kept(tmp_path, monkeypatch, capsys):
    slow(monkeypatch, 1.05)
    carry_out(tmp_path, measure=size, plan_only=True, **OPTIONS)
    printed = capsys.readouterr().out
    assert "ms/step" in printed
    assert "84.0" in printed
    assert set(probes(tmp_path).values()) == {1}
    slow(monkeypatch, 3.0)  # a machine on which they are not alike
    found = carry_out(tmp_path, measure=size, shard="2/2", **OPTIONS)
    assert set(probes(tmp_path).values()) == {1}
    assert len(probes(tmp_path)) == 2
    assert "Matched within 10% in time." in (tmp_path / "study.md").read_text()
    assert found["matched"] == "time"


def test_every_size_of_a_grid_is_measured(tmp_path, monkeypatch):
    slow(monkeypatch, 1.0)
    grid = {"model.vit_options.depth": (2, 3)}
    variants = {name: {"model.fusion": name} for name in ("resnet", "vit")}
    options = OPTIONS | dict(variants=variants, grid=grid, plan_only=True)
    carry_out(tmp_path, measure=size, **options)
    # One of the ResNet, which has no depth, and two of the ViT.
    assert len(probes(tmp_path)) == 3


def test_settings_of_one_size_that_train_differently_are_measured_apart(tmp_path):
    grid = {"train.batch_size": (8, 16), "optimizer.learning_rate": (1e-3, 1e-2)}
    options = OPTIONS | dict(variants={"resnet": PAIR["resnet"]}, grid=grid)
    carry_out(tmp_path, measure=size, plan_only=True, **options)
    # One for each size of batch; rates leave the time alone.
    experiments = [
        json.loads(file.read_text()) for file in tmp_path.glob("probe/*/experiment.json")
    ]
    assert sorted(one["train"]["batch_size"] for one in experiments) == [8, 16]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("model.resnet_options.norm", ("group", "batch")),
        ("model.resnet_options.remat", ("none", "full")),
        ("model.vit_options.remat", ("none", "full")),
    ],
)
def test_what_no_size_tells_of_is_measured_apart(tmp_path, key, values):
    options = OPTIONS | dict(variants={"resnet": PAIR["resnet"]}, grid={key: values})
    carry_out(tmp_path, measure=size, plan_only=True, **options)
    assert len(probes(tmp_path)) == 2


def test_waiting_for_the_probes_of_another_process_is_told(tmp_path, monkeypatch, capsys):
    held, sleep = [RunLock.take(tmp_path / "probe")], time.sleep

    def let_go(seconds):
        if held:
            held.pop().close()
        sleep(seconds)

    monkeypatch.setattr("hybrid_jax.studies.planning.probe.time.sleep", let_go)
    carry_out(tmp_path, measure=size, plan_only=True, **OPTIONS)
    printed = capsys.readouterr().out
    assert printed.count("waiting for the probes that process ") == 1


def test_failed_probe_is_told(tmp_path):
    variants = PAIR | {"vit": {"model.fusion": "bifusion"}}
    with pytest.raises(UserError, match="a probe failed"):
        carry_out(tmp_path, **OPTIONS | dict(variants=variants))


@pytest.mark.slow  # a study of 9 runs, and eight seconds of waiting
def test_a_study_waits_while_another_one_measures(tmp_path, monkeypatch):
    slow(monkeypatch, 1.0)
    lock = RunLock.take(tmp_path / "probe")
    words = [sys.executable, stub_study.__file__, str(tmp_path), "1", "time"]
    paths = f"{ROOT}:{ROOT / 'tests'}"
    process = subprocess.Popen(words, env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"})
    deadline = time.monotonic() + 120
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=8)
    assert not probes(tmp_path)
    lock.close()
    while not probes(tmp_path):
        assert process.poll() in (None, 0)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.wait(timeout=120) == 0
    assert json.loads((tmp_path / "study.json").read_text())["matched"] == "time"
