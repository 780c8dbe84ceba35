"""The first lines of a run say what is learned, and what is odd about it."""

import dataclasses

import pytest
from data_examples import write_class_folders
from etils import epath
from small_run import small_config

from hybrid_jax.train.checkpoints.dataset_record import DatasetRecord
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.reporting.announce import (
    announce,
    announce_start,
    first_step_line,
    ready_line,
)


def _record(names: tuple[str, ...]) -> DatasetRecord:
    return DatasetRecord(
        task="classification",
        classes={"label": names},
        category_ids=(),
        train_examples=1200,
        validation_examples=30,
    )


def test_a_run_says_at_once_what_it_begins(capsys):
    announce_start(small_config())
    told = capsys.readouterr().out
    assert told.startswith("starting sequential on digits; ")


@pytest.mark.parametrize(
    ("saved", "compiles", "line"),
    [
        (
            None,
            True,
            "initialized in 5.6 s; compiling the training step: seconds to minutes, once",
        ),
        (30, False, "continued from step 30 in 5.6 s"),
    ],
)
def test_what_compiles_next_is_told(saved, compiles, line):
    assert ready_line(saved, seconds=5.62, compiles=compiles) == line


@pytest.mark.parametrize(
    ("step", "more"),
    [
        (1, "; the first row comes with step 10"),
        (21, "; the first row comes with step 24"),
        (20, ""),  # it comes at once
        (24, ""),
    ],
)
def test_the_first_row_is_announced(step, more):
    config = {"log": {"every": 10}, "train": {"steps": 24}}
    line = first_step_line(step, seconds=6.5, config=config)
    assert line == f"first step, compilation included: 6.5 s{more}"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("ant", "bee"), "2 classes (ant, bee)"),
        (("ant",), "1 class (ant)"),
        (tuple("abcdefgh"), "8 classes (a, b, c, d, e, …)"),
    ],
)
def test_task_classes_and_lengths_come_first(names, told, capsys):
    experiment = prepare(small_config())
    announce(experiment, epath.Path("here"), record=_record(names), sizes="8x8 px")
    line = f"{told}; 1,200 training, 30 validation and 176 test images of 8x8 px\n"
    assert f"data: classification of {line}" in capsys.readouterr().out


def test_what_is_odd_about_the_data_is_said_once(capsys):
    experiment = prepare(small_config())
    notes = ("3 images are held out", "passed over 2 files")
    experiment.source.info = dataclasses.replace(experiment.source.info, notes=notes)
    announce(experiment, epath.Path("here"), eval_notes=(notes[0], "one class only"))
    told = capsys.readouterr().out
    for note in (*notes, "one class only"):
        assert told.count(f"data: {note}\n") == 1
    assert "data: --mode=check reads all of it once" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        (
            {"optimizer.branch.vit": 0.3, "optimizer.layer_decay": 0.9},
            "factors on the learning rate: vit 0.3, each layer below the top 0.9 more\n",
        ),
    ],
)
def test_parts_with_a_rate_of_their_own_are_named(changes, told, capsys):
    announce(prepare(small_config(changes)), epath.Path("here"))
    lines = capsys.readouterr().out.splitlines(keepends=True)
    assert "".join(line for line in lines if "learning rate" in line) == told


def test_data_without_a_test_split_has_no_count_of_it(tmp_path, capsys):
    write_class_folders(tmp_path, {"train/ant": 4, "train/bee": 4, "val/ant": 2})
    experiment = prepare(small_config({"data.name": f"folder:{tmp_path}"}))
    announce(experiment, epath.Path("here"), record=_record(("ant", "bee")))
    told = capsys.readouterr().out
    assert "1,200 training and 30 validation images\n" in told
    assert "--mode=check" not in told


def test_test_split_of_much_data_is_not_opened(monkeypatch, capsys):
    def opened(*_, **__):
        raise AssertionError("opening it may take minutes")

    monkeypatch.setattr("hybrid_jax.train.reporting.announce.open_source", opened)
    record = dataclasses.replace(_record(("ant", "bee")), train_examples=1_281_167)
    announce(prepare(small_config()), epath.Path("here"), record=record)
    told = capsys.readouterr().out
    assert "1,281,167 training, 30 validation and uncounted test images\n" in told
