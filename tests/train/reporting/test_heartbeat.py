"""A run that is silent for long says what it does; one of normal speed says no more."""

import contextlib
import queue
import sys
import threading

import pytest
from tqdm import tqdm

from hybrid_jax.train.reporting import heartbeat as heartbeat_file
from hybrid_jax.train.reporting.heartbeat import Heartbeat, print_above_bars, print_on_main


class Clock:
    """A clock that goes on when told to."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


class HastyClock(Clock):
    """A clock of which 20 s pass at every look."""

    def __call__(self):
        self.now += 20
        return self.now


def told_after(heartbeat, clock, told, seconds):
    """Returns what is said at each of these seconds of a phase, "" for nothing."""
    start, answers = clock.now, []
    for second in seconds:
        clock.now = start + second
        heartbeat.beat()
        answers.append(" ".join(told))
        told.clear()
    return answers


def test_a_phase_is_told_of_at_growing_intervals(clock):
    told = []
    heartbeat = Heartbeat(say=told.append, clock=clock)
    heartbeat.doing("compiling")
    seconds = (0, 14.9, 15, 16, 30, 59, 60, 61, 119, 120, 180, 239, 240, 300, 365.2)
    answers = told_after(heartbeat, clock, told, seconds)
    said = dict(filter(lambda pair: pair[1], zip(seconds, answers, strict=True)))
    assert said == {
        15: "still compiling: 15 s so far",
        30: "still compiling: 30 s so far",
        60: "still compiling: 1 min so far",
        120: "still compiling: 2 min so far",
        240: "still compiling: 4 min so far",
        365.2: "still compiling: 6 min 5 s so far",
    }


def test_it_sleeps_until_the_next_line_is_due(clock):
    heartbeat = Heartbeat(say=[].append, clock=clock)
    assert heartbeat.beat() is None
    heartbeat.doing("compiling")
    assert heartbeat.beat() == 15
    clock.now += 50
    assert heartbeat.beat() == 10
    heartbeat.doing(None)
    assert heartbeat.beat() is None


def test_after_a_long_silence_there_is_one_line(clock):
    told = []
    heartbeat = Heartbeat(say=told.append, clock=clock)
    heartbeat.doing("compiling")
    assert told_after(heartbeat, clock, told, (70, 71)) == [
        "still compiling: 1 min 10 s so far",
        "",
    ]


def test_phases_of_normal_speed_are_not_told_of(clock):
    told = []
    heartbeat = Heartbeat(say=told.append, clock=clock)
    for words in ("opening", "compiling", None, "evaluating"):
        heartbeat.doing(words)
        assert told_after(heartbeat, clock, told, (5, 14)) == ["", ""]


def test_words_may_change_within_a_phase(clock):
    told, steps = [], [0]
    heartbeat = Heartbeat(say=told.append, clock=clock)
    heartbeat.doing(lambda: f"training, step {steps[0]}")
    clock.now += 20
    steps[0] = 7
    heartbeat.beat()
    assert told == ["still training, step 7: 20 s so far"]


def test_a_phase_goes_on_after_one_amid_it(clock):
    told = []
    heartbeat = Heartbeat(say=told.append, clock=clock)
    heartbeat.doing("training")
    clock.now += 20
    with contextlib.suppress(OSError), heartbeat.during("evaluating"):
        clock.now += 16
        heartbeat.beat()
        raise OSError
    assert heartbeat.beat() == 60 - 36
    clock.now += 25
    heartbeat.beat()
    assert told == [
        "still evaluating: 16 s so far",
        "still training: 1 min 1 s so far",
    ]


def test_status_can_be_read_while_a_line_is_said(clock):
    """The display asks for it from its own thread, which must not wait for a line."""
    answers: queue.Queue = queue.Queue()

    def say(text):
        reader = threading.Thread(target=lambda: answers.put(heartbeat.status()))
        reader.start()
        reader.join(60)

    heartbeat = Heartbeat(say=say, clock=clock)
    assert heartbeat.status() == ""
    heartbeat.doing("compiling")
    clock.now += 15
    heartbeat.beat()
    assert answers.get(timeout=1) == "compiling: 15 s"


def test_a_thread_says_the_lines_and_ends_with_the_context():
    before, told = set(threading.enumerate()), queue.Queue()
    with Heartbeat(say=told.put, clock=HastyClock()) as heartbeat:
        (thread,) = set(threading.enumerate()) - before
        heartbeat.say_by(lambda text: told.put(f"display: {text}"))
        heartbeat.doing("compiling")
        assert told.get(timeout=60).startswith("display: still compiling: ")
        heartbeat.doing(None)
        told.queue.clear()  # nothing more is said of a phase that has ended
    assert not thread.is_alive()
    assert told.empty()


def test_lines_that_nobody_reads_do_not_disturb_the_run(monkeypatch):
    failed, tried = [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", failed.append)

    def say(text):
        tried.set()
        raise BrokenPipeError

    with Heartbeat(say=say, clock=HastyClock()) as heartbeat:
        heartbeat.doing("compiling")
        assert tried.wait(60)
        heartbeat.doing("training")
    assert failed == []


@pytest.mark.parametrize(("is_main", "printed"), [(True, "still training\n"), (False, "")])
def test_only_the_main_process_speaks(monkeypatch, capsys, is_main, printed):
    monkeypatch.setattr(heartbeat_file, "is_main_process", lambda: is_main)
    print_on_main("still training")
    assert capsys.readouterr().out == printed


def test_a_line_is_printed_above_a_bar(capsys):
    with tqdm(total=3, file=sys.stderr, ncols=20):
        capsys.readouterr()
        print_above_bars("still compiling")
        out, err = capsys.readouterr()
    assert out == "still compiling\n"
    assert err.startswith("\r" + 20 * " " + "\r")  # the bar goes, and is drawn again
    assert "0/3" in err
