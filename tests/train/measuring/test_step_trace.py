"""Which steps the profiler sees, and what a run leaves of it."""

import jax
import pytest
from etils import epath
from small_run import small_config
from toy_task import ONE_BLOCK

from hybrid_jax.train import loop
from hybrid_jax.train.loop import train
from hybrid_jax.train.measuring.step_trace import StepTrace

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda to: made.append(("start", to)))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: made.append(("stop",)))
    return made


def seen(calls, trace, steps):
    """Returns the steps that lay between a start and a stop."""
    inside = []
    for step in steps:
        trace.before(step)
        if calls and calls[-1][0] == "start":
            inside.append(step)
        if trace.is_last(step):
            trace.close()
    trace.close()
    assert len([c for c in calls if c[0] == "start"]) == len(calls) - len(calls) // 2
    return inside


@pytest.mark.parametrize(
    ("wanted", "done", "recorded"),
    [
        ("3:5", range(1, 9), [3, 4, 5]),
        ("3:3", range(1, 9), [3]),
        ("3:5", range(5, 9), [5]),  # continued amid them
        ("3:5", range(1, 5), [3, 4]),  # ended amid them
        ("3:5", range(6, 9), []),
        ("", range(1, 9), []),
    ],
)
def test_first_and_last_are_recorded_and_no_other(wanted, done, recorded, calls, tmp_path):
    said = []
    trace = StepTrace(epath.Path(tmp_path), wanted, say=said.append)
    assert seen(calls, trace, done) == recorded
    assert len(said) == bool(recorded)
    if recorded:
        assert str(tmp_path / "profile") in said[0]


def test_a_bucket_gets_a_copy(calls, monkeypatch, tmp_path):
    """The profiler cannot write there; files it left on disk are taken over."""

    def start(to):
        calls.append(("start", to))
        (epath.Path(to) / "plugins").mkdir()
        (epath.Path(to) / "plugins/one.pb").write_text("x")

    class Bucket(type(epath.Path("/"))):
        def __str__(self):
            return "gs://bucket" + super().__str__()

    monkeypatch.setattr(jax.profiler, "start_trace", start)
    trace = StepTrace(Bucket(tmp_path), "1:1", say=print)
    seen(calls, trace, [1])
    assert (tmp_path / "profile/plugins/one.pb").read_text() == "x"
    assert not epath.Path(calls[0][1]).exists()


def test_a_run_leaves_a_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "evaluate_split", lambda *_, **__: dict(top1=0.5))
    changes = ONE_BLOCK | {"profile.steps": "2:3", "train.steps": 4, "eval.every": 9}
    train(small_config(changes), str(tmp_path))
    assert list((tmp_path / "profile").rglob("*.trace.json.gz"))
    assert f"profile of steps 2 to 3 in {tmp_path / 'profile'}" in capsys.readouterr().out
