"""An interrupted measurement goes on, and one made otherwise begins anew."""

import json
import pathlib
import shutil

import pytest
from etils import epath
from recorded_heartbeat import Recorded
from saved_run import config_of, saved

from hybrid_jax.errors import UserError
from hybrid_jax.robustness import measure as measuring
from hybrid_jax.robustness.held_batches import HeldBatches
from hybrid_jax.robustness.measure import measure_robustness
from hybrid_jax.robustness.passes import CLEAN, Pass, passes_of
from hybrid_jax.robustness.results.record import FILE, Record, continued_record, read_record
from hybrid_jax.robustness.score_passes import PassScorer
from hybrid_jax.train.checkpoints.scored_run import scored_run

pytestmark = pytest.mark.usefixtures("one_device")
FEW = dict(corruptions=["contrast", "brightness"], severities=[1, 5])


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """(config, workdir, what is restored of it) of an untrained classifier."""
    path = epath.Path(tmp_path_factory.mktemp("classifier"))
    config = config_of("classification", {"eval.batch_size": 64})
    saved(path, config)
    return config, path, scored_run(config, path)


@pytest.fixture
def run(untouched, tmp_path, monkeypatch):
    """(config, workdir) of that classifier, never measured; nothing is plotted.

    Restoring a copy takes longer than measuring it.
    """
    config, path, restored = untouched

    def restored_before(config, workdir):
        is_copy = pathlib.Path(workdir) == tmp_path
        return restored if is_copy else scored_run(config, workdir)

    monkeypatch.setattr(measuring, "scored_run", restored_before)
    monkeypatch.setattr(measuring, "write_plots", lambda runs, workdir: [])
    return config, pathlib.Path(shutil.copytree(path, tmp_path, dirs_exist_ok=True))


@pytest.fixture
def scored(monkeypatch):
    """The passes of every reading of the data; `stop` after so many of them."""
    readings, scores = [], PassScorer.scores

    def noting(self, stream, passes, **options):
        if len(readings) == noting.stop:
            raise KeyboardInterrupt
        readings.append(list(passes))
        return scores(self, stream, passes, **options)

    noting.stop = None
    monkeypatch.setattr(PassScorer, "scores", noting)
    noting.readings = readings
    return noting


@pytest.mark.parametrize("held", [True, False])
def test_interrupted_measurement_goes_on(run, scored, monkeypatch, held):
    monkeypatch.setattr(measuring, "fits_in_memory", lambda *args, **options: held)
    monkeypatch.setattr(measuring, "_PASSES_PER_READING", 2)
    config, path = run
    passes = passes_of((), task="classification", **FEW)
    scored.stop = 2
    with pytest.raises(KeyboardInterrupt):
        measure_robustness(config, str(path), **FEW)
    done = 2 if held else 4
    assert list(read_record(epath.Path(path)).scores) == passes[:done]
    assert not (path / "robustness.json").exists()
    scored.stop = None
    found = measure_robustness(config, str(path), **FEW)
    # None of them twice.
    assert sum(scored.readings, []) == passes
    (path / FILE).unlink()
    assert measure_robustness(config, str(path), **FEW) == found


@pytest.mark.parametrize(
    ("held", "words"),
    [(True, ["pass 1 of 2", "pass 2 of 2"]), (False, ["passes 1 to 2 of 2"])],
)
def test_passes_are_told(run, monkeypatch, held, words):
    monkeypatch.setattr(measuring, "fits_in_memory", lambda *_, **__: held)
    heartbeat, told, scores = Recorded(), [], PassScorer.scores

    def noting(self, stream, passes, **options):
        told.append(heartbeat.status())
        return scores(self, stream, passes, **options)

    monkeypatch.setattr(PassScorer, "scores", noting)
    monkeypatch.setattr(measuring, "Heartbeat", lambda **kwargs: heartbeat)
    config, path = run
    measure_robustness(config, str(path), corruptions=["contrast"], severities=[1])
    assert heartbeat.phases[0] == "opening the data and restoring the checkpoint"
    assert told == [f"measuring {some}: 0 s" for some in words]


def test_more_passes_are_added_to_a_record(run, scored):
    config, path = run
    measure_robustness(config, str(path), corruptions=["contrast"], severities=[1])
    first = read_record(epath.Path(path)).scores
    measure_robustness(config, str(path), corruptions=["contrast"], severities=[1, 2])
    assert scored.readings[2:] == [[Pass("corruptions", "contrast", 2)]]
    assert read_record(epath.Path(path)).scores.items() >= first.items()


@pytest.mark.parametrize("seed", [0, 1])
def test_other_weights_of_the_same_step_are_measured_anew(run, scored, capsys, seed):
    config, path = run
    few = dict(corruptions=["contrast"], severities=[1])
    measure_robustness(config, str(path), **few)
    other = path / "again"
    saved(epath.Path(other), config, seed=seed)
    (other / FILE).write_text((path / FILE).read_text())
    capsys.readouterr()
    measure_robustness(config, str(other), **few)
    told = "measured with weights = " in capsys.readouterr().out
    assert told == (seed == 1)
    assert len(scored.readings) == (4 if seed else 2)


@pytest.mark.parametrize("change", [{"step": 4}, {"data.eval_crop": 0.5}, {"new": 1}])
def test_record_made_otherwise_is_not_continued(tmp_path, capsys, change):
    settings = {"step": 3, "data.eval_crop": 1.0, "size": (3, 4)}
    path = epath.Path(tmp_path)
    Record(path, settings=settings).add({CLEAN: {"top1": 0.5}})
    assert continued_record(path, settings).scores == {CLEAN: {"top1": 0.5}}
    assert capsys.readouterr().out == ""
    assert continued_record(path, settings | change).scores == {}
    assert "1 passes were measured with" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}, "passes": [[1]]}'])
def test_damaged_record_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match="is damaged .* Remove it"):
        read_record(epath.Path(tmp_path))


def test_record_that_cannot_be_written_says_how_to_go_on(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hybrid_jax.robustness.results.record.write_whole", full)
    with pytest.raises(UserError, match="No space left on device.*same command again"):
        Record(epath.Path(tmp_path), settings={}).add({CLEAN: {"top1": 0.5}})


def test_baseline_is_refused_before_anything_is_measured(run, scored):
    config, path = run
    with pytest.raises(UserError, match="there is no .*none/robustness_passes.json"):
        measure_robustness(config, str(path), baselines=[str(path / "none")], **FEW)
    other = epath.Path(path / "other")
    Record(other, settings={}).add({CLEAN: {"top1": 0.5}})
    with pytest.raises(UserError, match="was measured with task.name=None, this run"):
        measure_robustness(config, str(path), baselines=[str(other)], **FEW)
    assert scored.readings == []


class Stream:
    """Two batches that are read from somewhere."""

    def __init__(self, readings):
        readings.append(self)
        self.closed = False

    def __iter__(self):
        yield from ({"image": 1}, {"image": 2})

    def close(self):
        self.closed = True


@pytest.mark.parametrize("held", [True, False])
def test_held_batches_are_read_once(held):
    readings = []
    batches = HeldBatches(lambda: Stream(readings), held=held)
    for _ in range(3):
        stream = batches.stream()
        assert [batch["image"] for batch in stream] == [1, 2]
        stream.close()
    assert len(readings) == (1 if held else 3)
    assert all(stream.closed for stream in readings)


def test_reading_that_was_broken_off_is_not_held():
    readings = []
    batches = HeldBatches(lambda: Stream(readings), held=True)
    next(iter(batches.stream()))
    assert len(list(batches.stream())) == 2
    assert len(readings) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(suites=["rotations"]), "unknown suite 'rotations'"),
        (dict(corruptions=["fogg"]), "Did you mean 'fog'"),
        (dict(severities=["one"]), "expected numbers of 1 to 5, got 'one'"),
        (dict(severities=[6]), "expected 1, 2, 3, 4 or 5, got 6"),
        (dict(severities=[]), "expected at least one"),
    ],
)
def test_choice_that_is_none_is_refused(options, words):
    with pytest.raises(UserError, match=words):
        passes_of(**dict(suites=(), task="classification") | options)


def test_record_is_plain_json(run):
    config, path = run
    measure_robustness(config, str(path), corruptions=["contrast"], severities=[1])
    found = json.loads((path / FILE).read_text())
    assert found["settings"]["step"] == 3
    assert [row[:3] for row in found["passes"]] == [
        ["clean", "clean", 0],
        ["corruptions", "contrast", 1],
    ]
