"""What a run leaves out of its data is counted in its rows, its report and its words."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from small_run import rows, small_config
from toy_task import TOY, ToyTask, registered

from hybrid_jax.contracts import DatasetInfo, Mean
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError
from hybrid_jax.train.loop import train

pytestmark = pytest.mark.usefixtures("one_device")

BATCH, STEPS, EXAMPLES = 8, 4, 16
RUN = TOY | {
    "data.name": "crowded",
    "data.max_boxes": 2,
    "data.on_bad_annotation": "skip",
    "eval.image_size": 24,
    "train.batch_size": BATCH,
    "train.steps": STEPS,
    "log.every": 2,
    "log.progress": False,
}


tasks = []  # all that were made


class Crowded:
    """Images with five boxes; of every second one's one has no area."""

    info = DatasetInfo(box_names=("one", "other"))

    def __init__(self, location, *, split):
        self.split = split

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, index):
        boxes = np.float32([[i, i, i + 4, i + 5] for i in range(5)])
        if index % 2:
            boxes[0, 2] = boxes[0, 0]
        return dict(
            image=np.full((16, 16, 3), index, np.uint8),
            boxes_xyxy_px=boxes,
            box_labels=np.zeros(5, np.int32),
            where=f"{self.split}/{index}.png",
        )


class Boxes(ToyTask):
    targets = ("boxes",)

    def __init__(self, task, info):
        super().__init__(task, info)
        tasks.append(self)

    def loss(self, outputs, batch):
        rows = jnp.where(batch["mask"], (outputs.logits**2).mean(-1), 0.0)
        return Mean(rows.sum(), batch["box_mask"].sum(dtype=jnp.float32))


@pytest.fixture(autouse=True)
def with_toys(monkeypatch):
    SOURCES.names()
    monkeypatch.setattr(SOURCES, "_entries", SOURCES._entries | dict(crowded=Crowded))
    with registered(toy=Boxes):
        yield


def test_dropped_and_faulty_objects_are_reported(tmp_path, capsys):
    tasks.clear()
    scores = train(small_config(RUN), str(tmp_path))
    # Two rows for boxes: 3 of 5 are left out, or 2 of the 4 good ones. A pass through the
    # data, in whatever order, is two batches.
    a_pass = dict(dropped=EXAMPLES // 2 * (3 + 2), faulty=EXAMPLES // 2)
    train_rows = rows(tmp_path)
    assert [row["step"] for row in train_rows] == [2, 4]
    for passes, row in zip((1, 2), train_rows, strict=True):
        counted = {name: row[name] for name in a_pass}
        assert counted == {name: passes * count for name, count in a_pass.items()}
        assert "skipped" not in row
    printed = capsys.readouterr().out
    assert "80 objects left out for want of room (data.max_boxes) so far" in printed
    assert "16 faulty annotations left out (--mode=check names them) so far" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["skipped"], report["dropped"], report["faulty"]) == (0, 80, 16)
    assert scores == dict(count=EXAMPLES, seen=1.0) | a_pass
    assert report["best"] == dict(step=STEPS, score=1.0)  # by the score of the scorer
    assert [task.sizes for task in tasks] == [dict(train={(16, 16)}, evaluate={(24, 24)})]


def test_faulty_annotation_ends_a_run_that_may_not_skip_it(tmp_path):
    with pytest.raises(BadAnnotationError, match=r"train/\d+.png.* has no area"):
        train(small_config(RUN | {"data.on_bad_annotation": "raise"}), str(tmp_path))
