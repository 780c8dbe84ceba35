"""The speed of steps, without what is not training."""

import contextlib

import pytest

from hybrid_jax.train.measuring import step_timer
from hybrid_jax.train.measuring.step_timer import StepTimer


class Clock:
    """A clock that goes on when told to, and the seconds that batches were waited for."""

    now = seconds_waited = 0.0

    def perf_counter(self):
        return self.now

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(step_timer, "time", clock)
    return clock


def test_pauses_are_left_out_also_those_inside_others(clock):
    timer = StepTimer(batch_size=8, batches=clock)
    for _ in range(2):
        clock.passes(2.0)
        timer.step()
    clock.seconds_waited = 1.0
    with timer.paused():
        clock.passes(100.0)
        with timer.paused():
            clock.passes(50.0)
    with contextlib.suppress(OSError), timer.paused():
        clock.passes(30.0)
        raise OSError("the disk is full")
    assert timer.seconds() == 4.0
    values = dict(images_per_second=4.0, seconds_per_step=2.0, data_wait=0.25)
    assert timer.values() == values


def test_restart_forgets_steps_and_pauses(clock):
    timer = StepTimer(batch_size=8, batches=clock)
    clock.passes(5.0)
    timer.step()
    timer.restart()
    assert timer.values() == {}
    clock.passes(1.0)
    timer.step()
    assert timer.values()["images_per_second"] == 8.0
