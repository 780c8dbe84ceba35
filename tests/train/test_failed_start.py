"""A run that fails before its first step lets go of what it has opened."""

import signal
import threading

import pytest
from small_run import small_config
from toy_task import ONE_BLOCK

from hybrid_jax.train import loop
from hybrid_jax.train.loop import train

pytestmark = pytest.mark.usefixtures("one_device")

HANDLED = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def closed(monkeypatch):
    """The names of what is closed, in that order."""
    names = []
    for kind in (loop.StopRequest, loop.RunLog, loop.StepTrace):

        def close(self, close=kind.close, name=kind.__name__):
            names.append(name)
            close(self)

        monkeypatch.setattr(kind, "close", close)
    return names


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        ("RunLog", ["StopRequest"]),
        ("fastest_images_per_second", ["RunLog", "StopRequest"]),
        ("StepTrace", ["RunLog", "StopRequest"]),
    ],
)
def test_what_was_opened_is_closed(tmp_path, monkeypatch, closed, failing, expected):
    def fail(*args, **options):
        raise RuntimeError("half-way")

    monkeypatch.setattr(loop, failing, fail)
    handlers = [signal.getsignal(number) for number in HANDLED]
    threads = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="half-way"):
        train(small_config(ONE_BLOCK | {"log.progress": False}), str(tmp_path))
    assert closed == expected
    assert [signal.getsignal(number) for number in HANDLED] == handlers
    reading = [t for t in set(threading.enumerate()) - threads if "_fill" in t.name]
    assert reading == []


def test_error_while_closing_leaves_nothing_open(tmp_path, monkeypatch, closed):
    def fail(self):
        raise RuntimeError("no trace")

    monkeypatch.setattr(loop.StepTrace, "close", fail)
    handlers = [signal.getsignal(number) for number in HANDLED]
    monkeypatch.setattr(loop, "evaluate_split", lambda *_, **__: dict(top1=0.5))
    keys = ONE_BLOCK | {"log.progress": False, "train.steps": 1}
    with pytest.raises(RuntimeError, match="no trace"):
        train(small_config(keys), str(tmp_path))
    assert closed == ["RunLog", "StopRequest"]
    assert [signal.getsignal(number) for number in HANDLED] == handlers
