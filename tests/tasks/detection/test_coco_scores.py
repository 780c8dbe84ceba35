"""Average precision: pycocotools' own numbers to the bit, and files it reads."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hybrid_jax.config import defaults
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import BadImageError
from hybrid_jax.tasks.detection.coco_scores import CocoScorer

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
NUMBERS += ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
NAMES, IDS = ("cell", "platelet", "never there"), (7, 2, 90)
ROOM = 130  # more than the 100 of an image that count


class Boxes:
    """Random objects of three sizes; every fourth image is empty, some are crowds."""

    info = DatasetInfo(box_names=NAMES, box_category_ids=IDS)

    def __init__(self, *, images=14, objects=9, areas=True, seed=0):
        random = np.random.default_rng(seed)
        self.examples = []
        for index in range(images):
            count = 0 if index % 4 == 3 else int(random.integers(1, objects + 1))
            corners = random.uniform(0, 150, (count, 2))
            sides = random.choice([8, 50, 120], (count, 1)) * random.uniform(
                0.7, 1.3, (count, 2)
            )
            boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
            example = dict(
                boxes_xyxy_px=boxes,
                box_labels=random.integers(0, 2, count).astype(np.int32),
                box_crowd=random.uniform(size=count) < 0.15,
                original_hw=(300, 320 + index),
                image_id=images - 1 - index,  # 0 among them, and another order
            )
            if areas:
                example["box_areas_px"] = (0.6 * sides.prod(1)).astype(np.float32)
            self.examples.append(example)

    def __len__(self):
        return len(self.examples)

    def annotations(self, index):
        return dict(self.examples[index])


def predictions(source, index, *, seed=1):
    """Returns noisy copies of the objects and boxes of chance, with tied scores."""
    random = np.random.default_rng([seed, index])
    truth = source.examples[index]
    count = ROOM if index == 0 else int(random.integers(0, 25))
    boxes = random.uniform(0, 150, (ROOM, 4))
    boxes[:, 2:] = boxes[:, :2] + random.uniform(2, 90, (ROOM, 2))
    labels = random.integers(0, len(NAMES), ROOM)
    known = len(truth["box_labels"])
    if known:
        of = random.integers(0, known, count)
        copied = random.uniform(size=count) < 0.7
        noisy = truth["boxes_xyxy_px"][of] + random.normal(0, 2.0, (count, 4))
        boxes[:count][copied] = noisy[copied]
        labels[:count][copied] = truth["box_labels"][of][copied]
    return dict(
        boxes_xyxy_px=boxes.astype(np.float32),
        scores=(random.integers(1, 8, ROOM) / 8).astype(np.float32),
        labels=labels.astype(np.int32),
        valid=np.arange(ROOM) < count,
    )


def scored(source, *, without=(), batch=3, **options):
    """Returns a scorer of all images, with nothing in `without`, in odd batches."""
    scorer = CocoScorer(source)
    left = list(range(len(source)))[::-1]
    for start in range(0, len(left), batch):
        chosen = left[start : start + batch]
        rows = [predictions(source, index, **options) for index in chosen]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        stacked["valid"] &= ~np.isin(chosen, without)[:, None]
        scorer.add(stacked, np.array(chosen, np.int32))
    return scorer


def truth_of(source):
    """Returns the source as a file of annotations, by another hand, with its own ids."""
    images, annotations = [], []
    for example in source.examples:
        height, width = example["original_hw"]
        images.append(dict(id=example["image_id"], height=height, width=width))
        for m, (x0, y0, x1, y1) in enumerate(example["boxes_xyxy_px"].astype(float)):
            box = [x0, y0, x1 - x0, y1 - y0]
            areas = example.get("box_areas_px")
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=example["image_id"],
                    category_id=IDS[example["box_labels"][m]],
                    bbox=box,
                    area=box[2] * box[3] if areas is None else float(areas[m]),
                    iscrowd=int(example["box_crowd"][m]),
                )
            )
    categories = [dict(id=k, name=name) for k, name in zip(IDS, NAMES, strict=True)]
    return dict(images=images, annotations=annotations, categories=categories)


def by_pycocotools(truth, results):
    """Returns the 12 numbers and those of each class."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    scores = dict(zip(NUMBERS, evaluation.stats.tolist(), strict=True))
    for k, number in enumerate(evaluation.params.catIds):
        precision = evaluation.eval["precision"][:, :, k, 0, -1]
        known = precision[precision > -1]
        name = NAMES[IDS.index(number)]
        scores[f"AP/{name}"] = float(known.mean()) if known.size else -1.0
    return scores


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("areas", [True, False], ids=["mask areas", "box areas"])
def test_scores_are_those_of_pycocotools(tmp_path, seed, areas):
    source = Boxes(seed=seed, areas=areas)
    scorer = scored(source, without=(1, 5), seed=seed + 10)
    scorer.write(tmp_path / "test")
    results = str(tmp_path / "test_results.json")
    expected = by_pycocotools(truth_of(source), results)
    found = scorer.scores()
    assert found == expected == by_pycocotools(scorer.truth, results)
    assert list(found) == [*NUMBERS, *(f"AP/{name}" for name in NAMES)]
    assert found["AP/never there"] == -1.0
    assert 0.05 < found["AP"] < 0.9
    assert len({found[name] for name in NUMBERS}) == 12


def test_scoring_prints_nothing_and_is_json(capfd):
    json.dumps(scored(Boxes()).scores(), allow_nan=False)
    assert capfd.readouterr() == ("", "")


def test_what_is_added_later_counts():
    source, scorer = Boxes(), CocoScorer(Boxes())
    before, nothing = scorer.scores(), scorer.truth
    rows = [predictions(source, index) for index in range(len(source))]
    for index, row in enumerate(rows):
        scorer.add({k: x[None] for k, x in row.items()}, np.array([index]))
        assert len(scorer.truth["images"]) == index + 1
    assert before["AP"] == -1.0
    assert nothing["images"] == nothing["annotations"] == []
    assert scorer.scores() == scored(source).scores()


def test_nothing_predicted_is_nothing_found(tmp_path):
    source = Boxes()
    scorer = scored(source, without=range(len(source)))
    found = scorer.scores()
    assert {found[name] for name in NUMBERS} == {0.0}
    assert found["AP/cell"] == 0.0
    scorer.write(tmp_path / "test")
    assert json.loads((tmp_path / "test_results.json").read_text()) == []


def test_nothing_to_find_is_no_score():
    source = Boxes()
    for example in source.examples:
        for name in ("boxes_xyxy_px", "box_labels", "box_crowd", "box_areas_px"):
            example[name] = example[name][:0]
    found = scored(source).scores()
    assert set(found.values()) == {-1.0}


def test_perfect_boxes_score_one():
    source = Boxes()
    scorer = CocoScorer(source)
    for index, example in enumerate(source.examples):
        boxes, crowd = example["boxes_xyxy_px"], example["box_crowd"]
        rows = dict(boxes_xyxy_px=boxes, labels=example["box_labels"], valid=~crowd)
        rows["scores"] = np.ones(len(boxes), np.float32)
        scorer.add({k: x[None] for k, x in rows.items()}, np.array([index]))
    assert scorer.scores()["AP"] == pytest.approx(1.0)


class Decoded:
    """The same objects behind images; one cannot be read."""

    info = Boxes.info

    def __init__(self, source, *, bad):
        self.source, self.bad = source, bad

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index == self.bad:
            raise BadImageError("cut short")
        example = dict(self.source.examples[index])
        return example | dict(image=np.zeros((*example.pop("original_hw"), 3), np.uint8))


def test_source_without_annotations_and_with_an_unreadable_image():
    whole, bad = Boxes(), 2
    source = Decoded(whole, bad=bad)
    scorer = CocoScorer(source)
    for index in set(range(len(whole))) - {bad}:
        rows = {k: x[None] for k, x in predictions(whole, index).items()}
        scorer.add(rows, np.array([index]))
    left = truth_of(whole)
    lost = left["images"].pop(bad)["id"]
    left["annotations"] = [a for a in left["annotations"] if a["image_id"] != lost]
    assert scorer.scores() == by_pycocotools(left, scorer.results())


def test_objects_of_a_half_written_file_are_no_misses(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for name in ("whole.jpg", "half.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
    half = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(half[: len(half) // 2])
    boxes = [dict(id=i, image_id=i, category_id=1, bbox=[2, 3, 20, 30]) for i in (1, 2)]
    content = dict(
        images=[dict(id=1, file_name="half.jpg"), dict(id=2, file_name="whole.jpg")],
        annotations=boxes,
        categories=[dict(id=1, name="cell")],
    )
    (tmp_path / "train.json").write_text(json.dumps(content))
    data = defaults().data
    data.update(name=f"coco:{tmp_path},{tmp_path}/{{split}}.json", image_size=(64, 64))
    data.update(threads=1, on_bad_image="skip")
    source = open_split(data, split="train")
    assert len(source.annotations(0)["boxes_xyxy_px"]) == 1  # its header is whole
    (batch,) = eval_batches(source, data=data, targets=("boxes",), batch_size=2)
    assert batch["mask"].tolist() == [False, True]
    scorer = CocoScorer(source)
    found = dict(
        boxes_xyxy_px=np.float32([[[2, 3, 22, 33]]] * 2),
        scores=np.ones((2, 1), np.float32),
        labels=np.zeros((2, 1), np.int32),
        valid=np.ones((2, 1), bool),
    )
    scorer.add(
        {k: x[batch["mask"]] for k, x in found.items()}, batch["index"][batch["mask"]]
    )
    assert [image["id"] for image in scorer.truth["images"]] == [2]
    assert scorer.scores()["AR100"] == 1.0  # 0.5 with the other's object


def test_files_have_the_ids_of_the_annotations_and_the_usual_table(tmp_path):
    source = Boxes()
    source.examples[0]["image_id"] = np.int64(77)
    source.examples[1]["image_id"] = "a/b.jpg"
    scorer = scored(source)
    scorer.write(tmp_path / "test")
    results = json.loads((tmp_path / "test_results.json").read_text())
    assert {77, "a/b.jpg", 11} <= {row["image_id"] for row in results}
    assert {row["category_id"] for row in results} == set(IDS)
    row = next(row for row in results if row["image_id"] == 77)
    first = predictions(source, 0)
    x0, y0, x1, y1 = first["boxes_xyxy_px"][0].astype(float)
    assert row["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert row["score"] == first["scores"][0]
    table = (tmp_path / "test_ap.txt").read_text().splitlines()
    assert table[0].startswith(" Average Precision")
    assert sum(line.startswith(" Average") for line in table) == 12
    assert table[0].endswith(f"{scorer.scores()['AP']:.3f}")
    assert table[-3].split() == ["cell", f"{scorer.scores()['AP/cell']:.3f}"]


def test_categories_without_ids_count_from_one():
    source = Boxes()
    source.info = DatasetInfo(box_names=NAMES)
    scorer = scored(source)
    assert [entry["id"] for entry in scorer.truth["categories"]] == [1, 2, 3]
    # In another order of the classes averages round differently.
    assert scorer.scores() == pytest.approx(scored(Boxes()).scores(), abs=1e-12)
