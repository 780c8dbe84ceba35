"""A step that is both saved and evaluated is on disk before its evaluation begins."""

import json
import shutil

import pytest
from etils import epath
from small_run import rows, saved_steps, small_config
from toy_task import ONE_BLOCK

from hybrid_jax.errors import BadImageError
from hybrid_jax.train import loop
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.loop import train

pytestmark = pytest.mark.usefixtures("one_device")

KEYS = ONE_BLOCK | {
    "train.steps": 4,
    "checkpoint.every": 2,
    "checkpoint.keep": 1,
    "eval.every": 2,
    "log.progress": False,
}


def best_of(workdir, *, metric="top1"):
    with Checkpoints(
        epath.Path(workdir), keep=1, best_metric=metric, read_only=True
    ) as checkpoints:
        return checkpoints.best()


@pytest.fixture
def scores(monkeypatch):
    """Scores that evaluations return in turn; an exception is raised."""
    coming = []

    def evaluated(*args, **options):
        score = coming.pop(0)
        if isinstance(score, Exception):
            raise score
        return dict(top1=score, loss=1.0)

    monkeypatch.setattr(loop, "evaluate_split", evaluated)
    return coming


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose first evaluation was the best."""
    with pytest.MonkeyPatch.context() as patch:
        coming = [0.9, 0.3]
        patch.setattr(
            loop, "evaluate_split", lambda *a, **k: dict(top1=coming.pop(0), loss=1.0)
        )
        path = tmp_path_factory.mktemp("finished")
        train(small_config(KEYS), str(path))
    return path


def test_newest_and_best_are_kept_with_their_scores(finished):
    assert saved_steps(finished) == [2, 4]
    assert best_of(finished) == (2, 0.9)
    assert best_of(finished, metric="loss") == (4, 1.0)
    assert json.loads((finished / "report.json").read_text())["best"] == dict(
        step=2, score=0.9
    )


def test_best_before_goes_as_soon_as_a_better_one_is_scored(tmp_path, scores):
    scores += [0.3, 0.9]
    train(small_config(KEYS), str(tmp_path))
    assert saved_steps(tmp_path) == [4]
    assert best_of(tmp_path) == (4, 0.9)


def test_failed_evaluation_leaves_its_checkpoint_and_is_made_up_for(
    finished, tmp_path, scores
):
    scores += [0.9, BadImageError("no image")]
    workdir = tmp_path / "run"
    with pytest.raises(BadImageError):
        train(small_config(KEYS), str(workdir))
    assert saved_steps(workdir) == [2, 4]
    assert [row["step"] for row in rows(workdir, "validation")] == [2]
    scores += [0.95]
    train(small_config(KEYS), str(workdir))
    assert [row["step"] for row in rows(workdir, "validation")] == [2, 4]
    assert best_of(workdir) == (4, 0.95)
    assert saved_steps(workdir) == [4]
    assert (workdir / "report.json").exists()


def test_run_killed_between_save_and_score_evaluates_first(finished, tmp_path, scores):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    shutil.rmtree(workdir / "checkpoints/4")
    (workdir / "checkpoints/2/scores.json").unlink()
    lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"validation"' not in line]
    (workdir / "metrics.jsonl").write_text("".join(kept))
    scores += [0.9, 0.3]
    train(small_config(KEYS), str(workdir))
    for split in ("train", "validation"):
        assert rows(workdir, split) == rows(finished, split)
    assert best_of(workdir) == (2, 0.9)
    assert scores == []


def test_evaluation_alone_saves_only_what_is_the_best(tmp_path, scores):
    scores += [0.5, 0.4, 0.3]
    changes = {"checkpoint.every": 100, "eval.every": 1, "train.steps": 3}
    train(small_config(KEYS | changes), str(tmp_path))
    assert saved_steps(tmp_path) == [1, 3]
    assert best_of(tmp_path) == (1, 0.5)
    assert not (tmp_path / "checkpoints/1/scores.json").exists()  # Orbax has them


def test_scores_that_cannot_be_written_leave_the_checkpoint(finished, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    (workdir / "checkpoints/4/scores.json").unlink()
    (workdir / "checkpoints/4/scores.json.tmp").mkdir()
    with (
        pytest.raises(ValueError, match=r"scores.json cannot be written .*is intact"),
        Checkpoints(epath.Path(workdir), keep=1, best_metric="top1") as checkpoints,
    ):
        checkpoints.attach(4, dict(top1=0.1))
    assert saved_steps(workdir) == [2, 4]
