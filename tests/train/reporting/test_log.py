"""Rows for tables, lines for people."""

import io
import json
import re

import pytest
from etils import epath
from tqdm import tqdm

from hybrid_jax.train.reporting import log as log_module
from hybrid_jax.train.reporting.log import RunLog
from hybrid_jax.train.reporting.progress_display import sparkline

ROW = dict(
    loss=0.1 + 0.2,
    grad_norm=1 / 3,
    learning_rate=1e-3,
    images_per_second=123.456,
    seconds_per_step=0.5,
    data_wait=0.25,
)
SCORES = dict(loss=2 / 3, top1=0.987654321, count=177)


def open_log(path, *, start=0, tensorboard=False, progress=True, **more) -> RunLog:
    return RunLog(
        epath.Path(path),
        start=start,
        steps=40,
        tensorboard=tensorboard,
        progress=progress,
        **more,
    )


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_rows_keep_every_digit(tmp_path):
    log = open_log(tmp_path)
    log.train_row(10, ROW)
    log.scores(20, "validation", SCORES)
    log.close()
    assert lines(tmp_path) == [
        dict(step=10, split="train", **ROW),
        dict(step=20, split="validation", **SCORES),
    ]


def test_mfu_is_shown_where_it_is_known(tmp_path, capsys):
    log = open_log(tmp_path)
    log.train_row(10, ROW)
    log.train_row(20, ROW | dict(mfu=0.4567))
    log.close()
    without, with_it = capsys.readouterr().out.splitlines()
    assert "MFU" not in without
    assert "123.5 images/s, MFU 45.7 %  data wait" in with_it


def test_rows_are_on_disk_before_the_log_is_closed(tmp_path):
    log = open_log(tmp_path)
    log.train_row(10, ROW)
    assert len(lines(tmp_path)) == 1
    log.close()


def test_reopened_log_adds_rows(tmp_path):
    for step in (10, 20):
        log = open_log(tmp_path, start=step - 10)
        log.train_row(step, ROW)
        log.close()
    assert [row["step"] for row in lines(tmp_path)] == [10, 20]


def test_without_a_terminal_each_row_is_one_plain_line(tmp_path, capsys):
    log = open_log(tmp_path)
    log.advance()
    log.train_row(10, ROW)
    log.scores(20, "validation", SCORES)
    log.close()
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "step 10/40  loss 0.3000  lr 1.00e-03  grad 0.333  123.5 images/s  "
        "data wait 25.0 %  ETA 0:00:15",
        "step 20  validation: loss 0.6667  top1 0.9877  count 177",
    ]
    assert printed.err == ""


def test_scores_of_single_classes_are_recorded_and_not_shown(tmp_path, capsys):
    log = open_log(tmp_path)
    log.scores(20, "validation", {"mIoU": 0.5, "IoU/sky": 0.25})
    log.close()
    assert capsys.readouterr().out == "step 20  validation: mIoU 0.5000\n"
    (row,) = lines(tmp_path)
    assert row["IoU/sky"] == 0.25


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_there_is_a_display_instead_of_lines(tmp_path, capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    log = open_log(tmp_path, start=7, main_score="top1")
    for _ in (8, 9, 10):
        log.advance()
    log.train_row(9, ROW | dict(loss=0.6))
    log.scores(10, "validation", SCORES)
    log.train_row(10, ROW)
    with log.aside():
        terminal.write("another bar")
    log.say("[a] line")
    log.close()
    shown = terminal.getvalue()
    assert "10/40" in shown
    assert "loss 0.3000 █▁  123.5 images/s  ETA 0:00:15" in shown
    assert "best top1 0.9877 (step 10)" in shown
    assert "step 10  validation: loss 0.6667  top1 0.9877" in shown
    assert "[a] line\n" in shown
    assert capsys.readouterr().out == ""


def test_display_shows_what_is_being_done_and_lines_only_beside_another_bar(
    tmp_path, capsys, monkeypatch
):
    terminal, doing = Terminal(), ["compiling: 23 s"]
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    log = open_log(tmp_path, status=lambda: doing[0])
    log.beat("still compiling: 15 s so far")
    log.train_row(10, ROW)
    assert "compiling: 23 s  loss 0.3000" in terminal.getvalue()
    assert "still" not in terminal.getvalue()
    doing[0] = ""
    with log.aside():
        bar = tqdm(total=3, desc="evaluating", file=terminal)
        log.beat("still evaluating: 15 s so far")
        bar.close()
    shown = terminal.getvalue()
    log.close()
    # The bar is wiped off before the line and drawn again after it.
    assert re.search(r"\r +\rstill evaluating: 15 s so far\n\r?evaluating:", shown)
    assert capsys.readouterr().out == ""


def test_without_a_display_a_beat_is_a_line(tmp_path, capsys):
    log = open_log(tmp_path, status=lambda: "compiling: 23 s")
    log.beat("still compiling: 15 s so far")
    log.close()
    assert capsys.readouterr() == ("still compiling: 15 s so far\n", "")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([1.0], ""),
        ([3.0, 2.0, 1.0], "█▅▁"),
        ([1.0, 1.0], "▁▁"),
        ([4.0, 4.0, 0.0, 2.0], "█▁"),
    ],
)
def test_line_of_losses(values, line):
    assert sparkline(values, width=2 if len(values) == 4 else 3) == line


def test_progress_off_gives_lines_on_a_terminal_too(tmp_path, capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    log = open_log(tmp_path, progress=False)
    log.train_row(10, ROW)
    log.close()
    assert terminal.getvalue() == ""
    assert capsys.readouterr().out.startswith("step 10/40")


def test_other_processes_write_and_say_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(log_module, "is_main_process", lambda: False)
    log = open_log(tmp_path, tensorboard=True)
    log.say("hello")
    log.beat("still here")
    log.advance()
    log.train_row(10, ROW)
    log.scores(20, "validation", SCORES)
    log.flush()
    log.close()
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tensorboard", [True, False])
def test_events_are_written_if_asked_for(tmp_path, tensorboard):
    log = open_log(tmp_path, tensorboard=tensorboard)
    log.train_row(10, ROW)
    log.close()
    sizes = [path.stat().st_size for path in tmp_path.glob("tensorboard/events.*")]
    assert (bool(sizes) and min(sizes) > 100) == tensorboard
