"""A study says once a minute what its runs are doing."""

import types

from stub_study import carry_out

from hybrid_jax.studies.running import run_progress
from hybrid_jax.studies.running.run_progress import RunProgress


def _job(tmp_path, text):
    (tmp_path / "output.txt").write_text(text)
    run = types.SimpleNamespace(name="resnet-1")
    return types.SimpleNamespace(run=run, output_file=tmp_path / "output.txt")


def test_last_line_of_a_run_is_told_once_a_minute(tmp_path, capsys):
    now = [0.0]
    progress = RunProgress(clock=lambda: now[0])
    job = _job(tmp_path, "compiling\nstep 10/40  loss 1.2\n*****\n\n")
    told = []
    for now[0] in (59.0, 61.0, 100.0, 122.0):
        progress.tell([job], done=2, total=15)
        told.append(capsys.readouterr().out)
    line = "2 of 15 done; resnet-1: step 10/40  loss 1.2\n"
    assert told == ["", line, "", line]


def test_run_without_output_is_told_of(tmp_path, capsys):
    now = [0.0]
    progress = RunProgress(clock=lambda: now[0])
    jobs = [_job(tmp_path, "")]
    jobs[0].output_file.unlink()
    now[0] = 60.0
    progress.tell(jobs, done=0, total=1)
    assert "resnet-1: it has not said anything yet" in capsys.readouterr().out


def test_study_tells_of_its_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_progress, "_SECONDS", 0.0)
    carry_out(tmp_path, seeds=(0,))
    lines = [line for line in capsys.readouterr().out.split("\n") if " done; " in line]
    assert any(line.startswith("0 of 6 done; ") for line in lines)
    assert not any(line.startswith("6 of 6 done; ") for line in lines)
