"""What a task's scorer is given: every real example once, with its number."""

import contextvars

import numpy as np
import pytest
from etils import epath
from PIL import Image
from toy_task import TOY, ToyScorer, registered
from train_examples import new_state, small_experiment

from hybrid_jax.config import changed
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data.formats.decoding import decode
from hybrid_jax.errors import BadImageError
from hybrid_jax.train.evaluation import evaluate_split

COUNT = 37


class Numbered:
    """37 images that differ in the sum of their pixels; those in `bad` cannot be read."""

    info = DatasetInfo(num_classes=10, class_names=tuple("0123456789"))

    def __init__(self, *, bad=()):
        self.bad = bad

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        if index in self.bad:
            raise BadImageError(f"image {index} cannot be read")
        return dict(image=np.full((16, 16, 3), index + 1, np.uint8), label=index % 10)


@pytest.fixture(autouse=True)
def with_toys():
    with registered():
        yield


def evaluated(source, *, mesh="data8", batch_size=8, changes=None, **options):
    """Evaluates the toy task; returns its scores and its scorer."""
    experiment = small_experiment(TOY | (changes or {}), mesh=mesh)
    data = changed(experiment.eval_data, {"on_bad_image": "skip"})
    scores = evaluate_split(
        experiment.jitted_eval_step(),
        new_state(experiment),
        source,
        task=experiment.task,
        data=data,
        batch_size=batch_size,
        sharding=experiment.batch_sharding,
        progress=False,
        **options,
    )
    return scores, experiment.task.scorers[-1]


# 37 rows in batches of 8 leave three of padding, on a device whose row is not the last;
# 40 leave three in the only batch; 3 make more batches than may wait for the host.
@pytest.mark.parametrize(
    ("mesh", "batch_size"), [("data8", 8), ("data8", 40), ("fsdp8", 8), ("single", 3)]
)
def test_scorer_gets_every_example_once_with_its_number(mesh, batch_size):
    scores, scorer = evaluated(Numbered(), mesh=mesh, batch_size=batch_size)
    # In order, and each index with what was predicted for the image of that index.
    assert scorer.rows == [(i, (i + 1) * 16 * 16 * 3) for i in range(COUNT)]
    assert scores == dict(count=COUNT, seen=1.0)


def test_scorer_never_sees_an_unreadable_image():
    source = Numbered(bad=(0, 7, 36))
    scores, scorer = evaluated(source)
    assert scorer.source is source
    assert [index for index, _ in scorer.rows] == [
        index for index in range(COUNT) if index not in source.bad
    ]
    assert scores == dict(count=34, seen=34 / 37, skipped=3)


def test_scorer_reads_images_as_large_as_the_data_may_have(tmp_path, monkeypatch):
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    monkeypatch.setattr(decode, "_MAX_PIXELS", contextvars.ContextVar("low", default=1199))
    add, seen = ToyScorer.add, []

    def reading(scorer, *rows):
        seen.append(decode.image_hw(tmp_path / "photo.png"))
        return add(scorer, *rows)

    monkeypatch.setattr(ToyScorer, "add", reading)
    evaluated(Numbered(), mesh="single", batch_size=40)
    assert seen == [(30, 40)]
    with pytest.raises(BadImageError, match="larger than config.data.max_pixels = 1199"):
        decode.image_hw(tmp_path / "photo.png")


def test_results_are_written_once_all_are_there_and_only_if_asked(tmp_path):
    stem = epath.Path(tmp_path) / "evaluation_validation"
    _, scorer = evaluated(Numbered(), written=stem)
    assert scorer.written == [(stem, COUNT)]
    _, scorer = evaluated(Numbered())
    assert scorer.written == []


def test_evaluation_takes_images_of_its_own_size():
    changes = {"eval.image_size": (24, 32)}
    experiment = small_experiment(TOY | changes)
    assert tuple(experiment.config.data.image_size) == (16, 16)
    assert tuple(experiment.eval_data.image_size) == (24, 32)
    scores, scorer = evaluated(Numbered(), changes=changes)
    assert experiment.task.sizes["evaluate"] == {(24, 32)}
    assert scorer.rows[5] == (5, 6 * 24 * 32 * 3)
    assert scores["count"] == COUNT
    assert small_experiment(TOY).eval_data is small_experiment(TOY).config.data
