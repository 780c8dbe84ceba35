"""`--mode=evaluate`: which checkpoint, which splits, and what it leaves behind."""

import json
import re
import shutil
import threading

import jax
import pytest
from etils import epath
from recorded_heartbeat import Recorded
from small_run import command, run_well, small_config

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import UserError
from hybrid_jax.evaluate import _table, evaluate
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.checkpoints.workdir import claim
from hybrid_jax.train.experiment import prepare

pytestmark = pytest.mark.usefixtures("one_device")

BEST, LAST = 2, 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir with two checkpoints; the earlier one is the best."""
    path = epath.Path(tmp_path_factory.mktemp("trained"))
    experiment = prepare(small_config())
    claim(path, experiment.config)
    checkpoints = Checkpoints(path, keep=2, best_metric="top1")
    state = experiment.new_state()
    for step, score in [(BEST, 0.9), (LAST, 0.2)]:
        # The best always answers "2", the last "3".
        bias = state.params["head"]["logits"]["bias"]
        answer = jax.device_put(bias * 0.0, bias.sharding).at[step].set(5.0)
        state.params["head"]["logits"]["bias"] = answer
        state = state.replace(step=state.step * 0 + step)
        checkpoints.save(step, state, scores=dict(top1=score))
    checkpoints.close()
    return path


@pytest.fixture
def workdir(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def share_of(label: int, split: str) -> float:
    """Returns how much of a split of `digits` has this label."""
    source = open_source("digits", split=split)
    labels = [source[index]["label"] for index in range(len(source))]
    return labels.count(label) / len(labels)


@pytest.mark.parametrize(("which", "step"), [("best", BEST), ("last", LAST)])
def test_evaluate_scores_the_checkpoint_asked_for(workdir, which, step):
    found = evaluate(small_config({"eval.restore": which}), str(workdir))
    written = json.loads((workdir / "evaluation_validation.json").read_text())
    assert written == dict(step=step, split="validation", **found["validation"])
    assert found["validation"]["count"] == 177
    assert found["validation"]["top1"] == pytest.approx(share_of(step, "validation"))


def test_evaluate_takes_several_splits(workdir, capsys):
    found = evaluate(small_config({"eval.split": "validation, test"}), str(workdir))
    assert list(found) == ["validation", "test"]
    assert {split: scores["count"] for split, scores in found.items()} == dict(
        validation=177, test=176
    )
    printed = capsys.readouterr().out
    for split in found:
        written = json.loads((workdir / f"evaluation_{split}.json").read_text())
        assert written["top1"] == pytest.approx(share_of(BEST, split))
        assert f"step {BEST}  {split}:" in printed


def test_long_phases_are_told(workdir, monkeypatch, capsys):
    heartbeat = Recorded()
    monkeypatch.setattr("hybrid_jax.evaluate.Heartbeat", lambda **kwargs: heartbeat)
    evaluate(small_config({"eval.split": "validation, test"}), str(workdir))
    assert heartbeat.phases == [
        "opening the data and restoring the checkpoint",
        "",
        "reading validation and compiling its evaluation",
        "evaluating test, batch 0 of 3",
    ]
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
    lines = capsys.readouterr().out.splitlines()
    once = f"step {BEST}  compiling the evaluation: seconds to minutes, once"
    assert lines.count(once) == 1
    assert lines.index(once) < lines.index(f"step {BEST}  validation:")


def test_scores_go_to_another_file_when_asked(workdir):
    file = workdir / "evaluation_large.json"
    config = small_config({"eval.split": "test"})
    found = evaluate(config, str(workdir), output=str(file))
    assert json.loads(file.read_text())["top1"] == found["test"]["top1"]
    assert not (workdir / "evaluation_test.json").exists()


@pytest.mark.parametrize(
    ("split", "output"), [("validation,test", "x.json"), ("test", "x.txt")]
)
def test_one_file_is_for_one_split(workdir, split, output):
    with pytest.raises(UserError, match=r"expected a file NAME\.json"):
        evaluate(small_config({"eval.split": split}), str(workdir), output=output)


def test_evaluate_from_the_command_line(workdir):
    words = command(workdir, {"eval.batch_size": 50}, "--mode=evaluate")
    before = {path.name for path in (workdir / "checkpoints").iterdir()}
    done = run_well(words, devices=8)  # the one evaluation of this file on several
    assert f"step {BEST}  validation:" in done.stdout
    assert re.search(r"^  top1 +0\.0960$", done.stdout, re.MULTILINE)
    assert re.search(r"^  count +177$", done.stdout, re.MULTILINE)
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == before


def test_scores_of_classes_stand_in_a_table_below_the_others():
    scores = {
        "mIoU": 0.5,
        "IoU/sky": 0.25,
        "IoU/traffic light": -1.0,
        "Acc/sky": 0.125,
        "Acc/traffic light": 0.75,
        "count": 7,
    }
    assert _table(scores).splitlines() == [
        "  mIoU             0.5000",
        "  count            7",
        "                       IoU     Acc",
        "  sky               0.2500  0.1250",
        "  traffic light    -1.0000  0.7500",
    ]


def test_evaluate_without_checkpoints_says_to_train_first(tmp_path):
    with pytest.raises(UserError, match="has no checkpoints. Train first"):
        evaluate(small_config(), str(tmp_path / "never"))
    assert not (tmp_path / "never").exists()


def test_evaluate_of_a_run_that_saved_nothing_says_so(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="is empty: the run has saved nothing yet"):
        evaluate(small_config(), str(tmp_path))


def test_evaluate_of_another_model_is_refused(workdir):
    with pytest.raises(UserError, match="model.vit_options.depth: there 2, here 3"):
        evaluate(small_config({"model.vit_options.depth": 3}), str(workdir))
    (workdir / "config.json").unlink()  # as if only the checkpoints had been copied
    with pytest.raises(UserError, match="holds the state of another model"):
        evaluate(small_config({"model.vit_options.depth": 3}), str(workdir))


def test_evaluate_of_an_unknown_split_is_refused(workdir):
    with pytest.raises(UserError, match="validatoin"):
        evaluate(small_config({"eval.split": "validatoin"}), str(workdir))


def test_evaluate_survives_an_unreadable_best_checkpoint(workdir, capsys):
    for path in (workdir / f"checkpoints/{BEST}").rglob("manifest.ocdbt"):
        path.unlink()
    evaluate(small_config(), str(workdir))
    assert f"checkpoint of step {BEST} is unreadable" in capsys.readouterr().out
    written = json.loads((workdir / "evaluation_validation.json").read_text())
    assert written["step"] == LAST
    assert (workdir / f"checkpoints/{BEST}").exists()
