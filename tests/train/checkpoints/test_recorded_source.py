"""A run older than `dataset.json` whose newest checkpoint is damaged."""

import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image
from saved_run import config_of, saved

from hybrid_jax.errors import UserError
from hybrid_jax.predicting.predict_run import predict_run
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.checkpoints.recorded_source import classes_in_checkpoint

pytestmark = pytest.mark.usefixtures("one_device")

# Files of a checkpoint that describe its arrays, or hold them.
FILES = ("state/_METADATA", "state/_sharding", "state/manifest.ocdbt")
CONFIG = config_of("classification", {"data.name": "folder:/nowhere"})
OF_DIGITS = config_of("classification")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a run of ten classes with steps 3 and 6 saved."""
    workdir = tmp_path_factory.mktemp("run")
    for step in (3, 6):
        saved(epath.Path(workdir), OF_DIGITS, step=step, seed=step)
    return workdir


@pytest.fixture
def older(run, tmp_path):
    """A copy of it from before `dataset.json`, whose data is gone, to be damaged."""
    workdir = epath.Path(shutil.copytree(run, tmp_path / "run"))
    (workdir / "dataset.json").unlink()
    config = workdir / "config.json"
    config.write_text(config.read_text().replace('"digits"', '"folder:/nowhere"'))
    return workdir


def damage(path, *, gone):
    """Removes a file, or empties it."""
    assert path.exists()
    path.unlink() if gone else path.write_bytes(b"")


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "empty"])
@pytest.mark.parametrize("file", FILES)
def test_checkpoint_before_a_damaged_one_tells_the_classes(older, file, gone):
    damage(older / "checkpoints/6" / file, gone=gone)
    assert classes_in_checkpoint(older, CONFIG) == 10


def test_predictions_are_those_of_the_checkpoint_before(older, tmp_path, capsys):
    damage(older / "checkpoints/6/state/_METADATA", gone=True)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "x.png")
    predict_run(CONFIG, str(older), inputs=[str(tmp_path / "x.png")])
    told = capsys.readouterr().out
    assert "checkpoint of step 6 is unreadable (" in told
    assert "step 3: 1 image, predictions in " in told


def test_checkpoints_that_are_all_damaged_are_named(older):
    for step in (3, 6):
        damage(older / f"checkpoints/{step}/state/_METADATA", gone=True)
    with pytest.raises(UserError, match=r"checkpoints: no checkpoint there can be read"):
        classes_in_checkpoint(older, CONFIG)


@pytest.mark.parametrize(
    "text", [b"", b'{"top', b"\xff\xfe"], ids=["empty", "cut", "bytes"]
)
def test_damaged_scores_are_named_and_may_be_removed(tmp_path, text):
    workdir = epath.Path(tmp_path)
    saved(workdir, OF_DIGITS, scores=dict(top1=0.5))
    path = workdir / "checkpoints/3/metrics/metrics"
    path.write_bytes(text)
    with pytest.raises(UserError, match="metrics is not the JSON of scores .*remove it"):
        Checkpoints(workdir, keep=2, best_metric="top1")
    path.unlink()
    with Checkpoints(workdir, keep=2, best_metric="top1") as checkpoints:
        assert checkpoints.steps() == [3]
        assert checkpoints.best() is None
