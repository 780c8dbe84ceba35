"""`--mode=robustness`: the scores of corrupted images, the files, and the baseline."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest
from etils import epath
from saved_run import TASKS, config_of, saved
from small_run import command, run_well

from hybrid_jax.contracts import Source
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import UserError
from hybrid_jax.evaluate import evaluate
from hybrid_jax.robustness.corruptions import CORRUPTIONS, corrupt
from hybrid_jax.robustness.measure import measure_robustness
from hybrid_jax.robustness.passes import CLEAN, Pass
from hybrid_jax.robustness.results.record import Record
from hybrid_jax.robustness.results.summary import compared, summary
from hybrid_jax.robustness.settings import check_baseline

pytestmark = pytest.mark.usefixtures("one_device")

FEW = dict(corruptions=["contrast", "impulse_noise", "saturate"], severities=[1, 5])
EXAMPLES = 24


class First(Source):
    """The first examples of a source."""

    def __init__(self, source):
        self.source, self.info, self.reads = source, source.info, []

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, index):
        self.reads.append(index)
        return self.source[index]


@pytest.fixture(scope="module", autouse=True)
def opened():
    """(split, source) of all that is opened, of which there are only the first examples."""
    sources = []

    def open_first(data, *, split):
        sources.append((split, First(open_split(data, split=split))))
        return sources[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hybrid_jax.train.checkpoints.scored_run.open_split", open_first)
        yield sources


@pytest.fixture(scope="module", autouse=True)
def plotted():
    """The workdirs that plots are written to, of which they are empty files."""
    workdirs = []

    def write_plots(runs, workdir):
        (workdir / "plot.png").touch()
        workdirs.append(workdir)
        return [workdir / "plot.png"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hybrid_jax.robustness.measure.write_plots", write_plots)
        yield workdirs


@pytest.fixture(scope="module")
def measured_of(opened, plotted, tmp_path_factory):
    """task -> (config, workdir, what was found) of an untrained model, measured once."""

    @functools.cache
    def measure(task):
        path = epath.Path(tmp_path_factory.mktemp(task))
        config = config_of(task)
        saved(path, config)
        return config, path, measure_robustness(config, str(path), **FEW)

    return measure


# `test_pass_of_moved_targets.py` scores true boxes in several passes by every pytest.
SLOW_BOXES = [
    pytest.param(task, marks=[pytest.mark.slow] if task == "detection" else [])
    for task in TASKS
]


@pytest.fixture(scope="module", params=SLOW_BOXES)
def measured(request, measured_of):
    """(task, config, workdir, what was found) of a model of each task."""
    return request.param, *measured_of(request.param)


@pytest.fixture(scope="module")
def classifier(measured_of, tmp_path_factory):
    """(config, workdir) of a run that has been measured, which tests may change."""
    config, path, _ = measured_of("classification")
    copy = tmp_path_factory.mktemp("classifier") / "run"
    return config, epath.Path(shutil.copytree(path, copy))


def test_clean_pass_is_evaluation(measured):
    _, config, path, found = measured
    (scores,) = evaluate(config, str(path)).values()
    for name, value in found["clean"].items():
        assert value == pytest.approx(scores[name], abs=1e-6), name


def test_files_hold_what_is_returned(measured, plotted):
    task, _, path, found = measured
    assert path in plotted
    assert json.loads((path / "robustness.json").read_text()) == found
    assert found["task"] == task
    lines = found["suites"]["corruptions"]["lines"]
    assert list(lines) == FEW["corruptions"]
    text = (path / "robustness.md").read_text()
    for name, entry in lines.items():
        values = [row[found["score"]] for row in entry["scores"]] + [entry["mean"]]
        if task == "classification":
            values.append(np.mean([row["ece"] for row in entry["scores"]]))
        cells = [f"{value:.4f}" for value in values]
        row = [" ".join(line.replace("|", " ").split()) for line in text.splitlines()]
        assert " ".join([name, CORRUPTIONS[name].likeness, *cells]) in row


@pytest.mark.parametrize("name", FEW["corruptions"])
def test_pass_scores_the_corrupted_images(classifier, tmp_path, monkeypatch, name):
    config, path = classifier
    found = json.loads((path / "robustness.json").read_text())
    shutil.copytree(path, tmp_path / "run")
    corrupted = jax.jit(functools.partial(corrupt, name=name, severity=5))

    def on_the_host(stream):
        """Yields the batches with images that were corrupted one by one."""
        for batch in stream:
            images, indices = batch["image"].astype(np.float32), batch["index"]
            rows = [
                corrupted(images[i : i + 1], jax.random.key(0), index=indices[i : i + 1])[0]
                for i in range(len(images))
            ]
            yield batch | {"image": np.stack(rows).astype(np.uint8)}

    monkeypatch.setattr(
        "hybrid_jax.train.evaluation.eval_batches",
        lambda *args, **kw: on_the_host(eval_batches(*args, **kw)),
    )
    (scores,) = evaluate(config, str(tmp_path / "run")).values()
    there = found["suites"]["corruptions"]["lines"][name]["scores"][1]
    for score in ("top1", "loss"):
        assert there[score] == pytest.approx(scores[score], rel=1e-5)
    assert abs(there["loss"] - found["clean"]["loss"]) > 1e-4


def test_every_example_is_read_once(opened, tmp_path):
    config = config_of("classification", {"eval.split": "test"})
    saved(epath.Path(tmp_path), config)
    measure_robustness(config, str(tmp_path), **FEW)
    (source,) = [source for split, source in opened if split == "test"]
    assert sorted(source.reads) == list(range(EXAMPLES))


def test_run_against_itself_has_an_mce_of_one(classifier):
    config, path = classifier
    found = measure_robustness(config, str(path), baselines=[str(path)] * 2, **FEW)
    (versus,) = found["baselines"]
    assert versus["mCE"] == pytest.approx(1.0)
    assert "mCE relative to" in (path / "robustness.md").read_text()


def test_suites_have_tables_and_need_no_corruption(classifier):
    config, path = classifier
    found = measure_robustness(config, str(path), suites=["resolution"])
    assert list(found["suites"]) == ["resolution"]
    assert "mean_corrupted" not in found
    lines = (path / "robustness.md").read_text().splitlines()
    assert "## resolution: smaller size, share of the sides" in lines
    line = found["suites"]["resolution"]["lines"]["down_and_up"]
    assert line["strengths"] == [0.125, 0.25, 0.375, 0.5, 0.75]
    losses = [scores["loss"] for scores in line["scores"]]
    clean = found["clean"]["loss"]
    # The nearer to the whole resolution, the nearer to the clean images.
    assert abs(losses[-1] - clean) < abs(losses[0] - clean)


def passes(errors):
    """Returns the scores of passes: corruption -> error at the severities 2 and 4."""
    scores = {CLEAN: {"top1": 0.9, "count": 7, "top1/cat": 0.1}}
    for name, row in errors.items():
        for severity, error in zip((2, 4), row, strict=True):
            scores[Pass("corruptions", name, severity)] = {"top1": 1.0 - error}
    return scores


def test_summary_and_mce_are_those_of_the_definition():
    ours = passes({"fog": (0.2, 0.4), "contrast": (0.1, 0.2), "saturate": (0.9, 0.9)})
    theirs = passes({"fog": (0.4, 0.8), "contrast": (0.1, 0.1), "saturate": (0.9, 0.9)})
    found = summary(ours, list(ours), score="top1")
    assert found["clean"] == {"top1": 0.9, "count": 7}
    assert found["mean_corrupted"] == pytest.approx((0.7 + 0.85) / 2)  # without saturate
    assert found["retained"] == pytest.approx(0.775 / 0.9)
    found = compared(found, summary(theirs, list(ours), score="top1"))
    expected = {"fog": 0.5, "contrast": 1.5, "saturate": 1.0}
    assert found["ce"] == {name: pytest.approx(value) for name, value in expected.items()}
    assert found["mCE"] == pytest.approx(1.0)


def test_mce_is_undefined_where_the_baseline_is_perfect():
    ours, perfect = passes({"fog": (0.2, 0.4)}), passes({"fog": (0.0, 0.0)})
    runs = [summary(scores, list(ours), score="top1") for scores in (ours, perfect)]
    found = compared(*runs)
    assert found == dict(ce={"fog": None}, mCE=None)


SETTINGS = {"task.name": "a", "data.name": "d", "split": "s", "count": 7, "levels_px": 32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "test"}, "measured with split='test', this run with 's'"),
        ({"count": 8}, "measured with count=8, this run with 7"),
        ({}, "lacks 1 of 3 passes, such as fog at 4 of the suite corruptions"),
    ],
)
def test_baseline_measured_otherwise_is_refused(tmp_path, change, words):
    asked = passes({"fog": (0.2, 0.4)})
    record = Record(epath.Path(tmp_path), settings=SETTINGS | change)
    record.add({each: asked[each] for each in list(asked)[:2]})
    with pytest.raises(UserError, match=words):
        check_baseline(record, name="other", settings=SETTINGS, passes=list(asked))


def test_several_splits_are_refused(tmp_path):
    config = config_of("classification", {"eval.split": "validation,test"})
    with pytest.raises(UserError, match="expected one split for --mode=robustness"):
        measure_robustness(config, str(tmp_path))


def test_robustness_from_the_command_line(classifier):
    _, path = classifier
    changes = {"eval.batch_size": 60, "model.vit_options.depth": 1}
    words = command(path, changes, "--mode=robustness")
    # The one measurement of this file on several devices.
    done = run_well([*words, "--corruptions=contrast", "--severities=5"], devices=8)
    assert "measured with count = 24, now it is 177: all are measured" in done.stdout
    assert "2 passes over 177 examples\n" in done.stdout
    lines = json.loads((path / "robustness.json").read_text())["suites"]["corruptions"]
    assert lines["lines"]["contrast"]["strengths"] == [5]
    assert (path / "robustness.md").read_text() in done.stdout
