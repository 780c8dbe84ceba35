"""What a run shows of itself: it is there, and where it fails the run goes on."""

import json

import numpy as np
import pytest
from etils import epath
from recorded_heartbeat import Recorded
from saved_run import config_of, saved
from small_run import command, run_well

from hybrid_jax.config import changed
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import UserError
from hybrid_jax.report import report
from hybrid_jax.train.reporting import run_pictures
from hybrid_jax.train.reporting.example_pictures import spread_indices
from hybrid_jax.train.reporting.log import RunLog
from hybrid_jax.train.reporting.run_pictures import RunPictures


def test_report_that_cannot_be_written_leaves_the_exit_status(tmp_path):
    (tmp_path / "report.html" / "in_the_way").mkdir(parents=True)
    keys = {"train.steps": 2, "log.report_page": True}
    said = run_well(command(tmp_path, keys)).stdout.splitlines()
    assert said[-2].startswith("done: 2 steps")
    assert said[-1].startswith("note: no report.html (")
    assert said[-1].endswith("; the run and its results are complete")


def log_of(path):
    return RunLog(epath.Path(path), start=0, steps=3, tensorboard=False, progress=False)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = epath.Path(tmp_path_factory.mktemp("classifier"))
    config = changed(config_of("classification"), {"log.report_page": True})
    experiment, _ = saved(path, config)
    return path, experiment


def test_findings_that_fail_are_one_line_and_left_out(classifier, capsys, monkeypatch):
    path, experiment = classifier
    source = open_split(experiment.config.data, split="validation")
    pictures = RunPictures(experiment, path, source=source, log=log_of(path))
    (watcher,) = pictures.watchers(experiment.config.train.steps)
    watcher.add({}, np.zeros(1), scorer=None)  # no labels: a defect
    watcher.add({}, np.zeros(1), scorer=None)
    pictures.write_report(3)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("note: no findings in report.html (KeyError: 'true_label')")
    assert said[1:] == [f"report: {path / 'report.html'}"]
    assert "confusion" not in json.loads((path / "findings.json").read_text())
    (path / "findings.json").unlink()


@pytest.mark.parametrize("broken", ["write_findings", "write_page"])
def test_any_failure_is_one_line(classifier, capsys, monkeypatch, broken):
    path, experiment = classifier

    def fail(*_, **__):
        raise ZeroDivisionError("two\nlines")

    source = open_split(experiment.config.data, split="validation")
    pictures = RunPictures(experiment, path, source=source, log=log_of(path))
    monkeypatch.setattr(run_pictures, broken, fail)
    pictures.write_report(3)
    notes = [x for x in capsys.readouterr().out.splitlines() if x.startswith("note")]
    (note,) = notes
    assert "(ZeroDivisionError: two lines); the run and its results are" in note
    (path / "findings.json").unlink(missing_ok=True)


def test_report_mode_evaluates_once_and_tells_of_it(classifier, capsys, monkeypatch):
    path, _ = classifier
    heartbeat = Recorded()
    monkeypatch.setattr("hybrid_jax.report.Heartbeat", lambda **kwargs: heartbeat)
    (path / "findings.json").unlink(missing_ok=True)
    report([str(path)], output=str(path / "page.html"))
    assert (path / "page.html").exists()
    written = (path / "findings.json").read_text()
    assert json.loads(written)["step"] == 3
    (path / "findings.json").write_text(written.replace('"step": 3', '"step": 9'))
    report([str(path)])
    assert "validation, step 9" in (path / "report.html").read_text()
    assert heartbeat.phases == [
        "opening the data and restoring the checkpoint",
        "",
        "reading validation and compiling its evaluation",
    ]
    assert "note" not in capsys.readouterr().out


def test_folder_is_no_place_for_a_page(classifier, tmp_path):
    path, _ = classifier
    with pytest.raises(UserError, match="--output: expected a file .*report.html"):
        report([str(path)], output=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_workdir_without_a_name_is_refused(classifier):
    path, _ = classifier  # "--workdir=A," names two
    with pytest.raises(UserError, match="give --workdir=PATH, or several"):
        report([str(path), ""])


def test_report_mode_without_the_data_says_why(tmp_path, capsys):
    path = epath.Path(tmp_path / "run")
    saved(path, config_of("classification"))
    config = json.loads((path / "config.json").read_text())
    config["data"]["name"] = "folder:/nowhere"
    (path / "config.json").write_text(json.dumps(config))
    report([str(path)])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("note: no evaluation for the report of run: ")
    assert "/nowhere" in first
    assert second == f"report: {path / 'report.html'}"
    assert "No evaluation for the report of run: " in (path / "report.html").read_text()


def test_examples_are_spread_over_the_split():
    assert spread_indices(177, count=8) == [0, 25, 50, 75, 101, 126, 151, 176]
    assert spread_indices(3, count=8) == [0, 1, 2]


@pytest.mark.slow  # evaluates 1,000 images of each task
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_report_of_every_task(tmp_path, task):
    path = epath.Path(tmp_path / task)
    saved(path, config_of(task))
    report([str(path)])
    findings = json.loads((path / "findings.json").read_text())
    assert len(findings["table"]["rows"]) >= 5
    assert all(len(case["pictures"]) == 2 for case in findings["worst"])
    assert len(findings["worst"]) == 6
    assert (path / "report.html").stat().length < 3_000_000
