"""COCO's average precision and recall of boxes (Lin et al., 2014).

They are computed by hotcoco, which gives the same numbers as pycocotools in less time.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

import hotcoco
import numpy as np
from etils import epath

from hybrid_jax.contracts import Source
from hybrid_jax.tasks.ground_truth import ground_truth

_WITHOUT_OBJECTS = -1.0
# Columns of the rows hotcoco reads predictions from.
_IMAGE, _BOX, _SCORE, _CATEGORY = 0, slice(1, 5), 5, 6


class CocoScorer:
    """Collects boxes and scores them by COCO's rules, over the evaluated images.

    Evaluated are the images passed to `add`, also those without predictions. Images that
    were skipped because they or their annotations cannot be read are left out, with their
    objects. The 100 best boxes of each image are used. Crowd regions are neither false
    negatives, nor are boxes inside them false positives. Objects with an area below 32² px
    are small, above 96² large; the area is that of the mask, or of the box without mask.

    Args:
        source: the split of the predictions.
    """

    def __init__(self, source: Source):
        self._source = source
        info = source.info
        self._names = tuple(info.box_names)
        ids = info.box_category_ids or range(1, len(self._names) + 1)
        self._category_ids = np.asarray(ids, np.int64)
        self._rows: list[np.ndarray] = []
        self._added: set[int] = set()
        self._evaluated: hotcoco.COCOeval | None = None

    def add(self, predictions: Mapping[str, np.ndarray], index: np.ndarray) -> None:
        """Adds the output of `Detection.predict` for the examples `index` (b,).

        Also for images without a valid box, whose objects are false negatives.
        """
        image, place = np.nonzero(predictions["valid"])
        boxes = np.asarray(predictions["boxes_xyxy_px"], np.float64)[image, place]
        rows = np.empty((len(image), 7), np.float64)
        rows[:, _IMAGE] = np.asarray(index)[image]
        rows[:, _BOX] = _as_xywh(boxes)
        rows[:, _SCORE] = predictions["scores"][image, place]
        rows[:, _CATEGORY] = self._category_ids[predictions["labels"][image, place]]
        self._rows.append(rows)
        self._added.update(np.asarray(index).tolist())
        self.__dict__.pop("truth", None)  # clears the `cached_property`
        self._evaluated = None

    def scores(self) -> dict[str, float]:
        """Returns COCO's 12 numbers and `AP/<name>` of each class, all in [0, 1].

        AP is averaged over IoU 0.50 to 0.95; AR1, AR10 and AR100 are recalls with 1, 10 and
        100 boxes per image; s, m and l are small, medium and large objects. A score is -1
        if there are no objects; averages leave it out.
        """
        evaluated = self._evaluation()
        scores = {name: float(x) for name, x in evaluated.get_results().items()}
        names = evaluated.metric_keys()
        return {name: scores[name] for name in names} | self._by_class()

    def precision_at_half(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Returns the classes' names, 101 recalls, and the precision (K, 101) at IoU 0.5.

        The precision is the interpolated one of COCO: -1 for a class without objects.
        """
        accumulated = self._evaluation().eval
        assert accumulated is not None
        place = np.argsort(np.argsort(self._category_ids))
        precision = np.asarray(accumulated["precision"])[0, :, :, 0, -1].T[place]
        return self._names, np.linspace(0.0, 1.0, precision.shape[1]), precision

    def objects_by_index(self) -> dict[int, dict[str, np.ndarray]]:
        """Returns index of an image -> `boxes_xyxy_px` (N, 4) and `labels` (N,).

        Without crowd regions.
        """
        index_of = {image["id"]: image["index"] for image in self.truth["images"]}
        rows: dict[int, list[dict]] = {index: [] for index in index_of.values()}
        for annotation in self.truth["annotations"]:
            if not annotation["iscrowd"]:
                rows[index_of[annotation["image_id"]]].append(annotation)
        label_of = {int(number): k for k, number in enumerate(self._category_ids)}
        found = {}
        for index, objects in rows.items():
            boxes = np.array([o["bbox"] for o in objects], np.float64).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            labels = np.array([label_of[o["category_id"]] for o in objects], np.int64)
            found[index] = dict(boxes_xyxy_px=boxes, labels=labels)
        return found

    def write(self, stem: Any) -> None:
        """Writes `<stem>_results.json` and `<stem>_ap.txt`.

        The first is a COCO results file with the ids of the annotation file, without
        rounding, so that other tools compute the same scores. The second is the usual table
        of scores, with the AP of each class below.
        """
        stem = epath.Path(stem)
        results = ",\n".join(json.dumps(row) for row in self.results())
        _with_ending(stem, "_results.json").write_text(f"[{results}]\n")
        lines = [*self._evaluation().summary_lines(), "", "AP of each class:"]
        width = max(map(len, self._names), default=0)
        for name, key in zip(self._names, self._keys(), strict=True):
            lines.append(f" {name:{width}}  {self._by_class()[key]:6.3f}")
        _with_ending(stem, "_ap.txt").write_text("\n".join(lines) + "\n")

    def results(self) -> list[dict[str, Any]]:
        """Returns the predictions in COCO's results format."""
        known = {image["id"]: image["original_id"] for image in self.truth["images"]}
        return [
            dict(
                image_id=known[row[_IMAGE]],
                category_id=int(row[_CATEGORY]),
                bbox=row[_BOX].tolist(),
                score=float(row[_SCORE]),
            )
            for row in self._all_rows()
        ]

    @functools.cached_property
    def truth(self) -> dict[str, list[dict[str, Any]]]:
        """The ground truth of all added images, in COCO's annotation format.

        Image ids are those of the source if they are unique integers, else index + 1. They
        matter because boxes with equal scores are ordered by image id. `original_id` is the
        id of the source.
        """
        images, annotations = [], []
        for index in sorted(self._added):
            example = ground_truth(self._source, index)
            height, width = map(int, example["original_hw"])
            known = np.asarray(example.get("image_id", index + 1)).item()
            images.append(
                dict(id=known, height=height, width=width, original_id=known, index=index)
            )
            annotations += self._objects(example, image=images[-1])
        if not _are_ids([image["id"] for image in images]):
            for image in images:
                image["id"] = image["index"] + 1
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number  # pycocotools takes the id 0 for no match
            annotation["image_id"] = annotation.pop("image")["id"]
        categories = [
            dict(id=int(number), name=name)
            for number, name in zip(self._category_ids, self._names, strict=True)
        ]
        return dict(images=images, annotations=annotations, categories=categories)

    def _objects(self, example: Mapping[str, Any], *, image: dict) -> list[dict]:
        boxes = _as_xywh(np.asarray(example["boxes_xyxy_px"], np.float64).reshape(-1, 4))
        areas = example.get("box_areas_px", boxes[:, 2] * boxes[:, 3])
        crowd = example.get("box_crowd", np.zeros(len(boxes), bool))
        return [
            dict(
                image=image,
                category_id=int(self._category_ids[label]),
                bbox=box.tolist(),
                area=float(area),
                iscrowd=int(is_crowd),
            )
            for box, label, area, is_crowd in zip(
                boxes, example["box_labels"], areas, crowd, strict=True
            )
        ]

    def _all_rows(self) -> np.ndarray:
        rows = np.concatenate([np.zeros((0, 7)), *self._rows])
        ids = {image["index"]: image["id"] for image in self.truth["images"]}
        rows[:, _IMAGE] = [ids[index] for index in rows[:, _IMAGE]]
        return rows

    def _evaluation(self) -> hotcoco.COCOeval:
        if self._evaluated is None:
            truth = hotcoco.COCO(self.truth)
            evaluation = hotcoco.COCOeval(truth, truth.load_res(self._all_rows()), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summary_lines()  # like `summarize`, without printing
            self._evaluated = evaluation
        return self._evaluated

    def _by_class(self) -> dict[str, float]:
        # Axes: IoU, recall, class, area, boxes per image; area 0 is "all", the last number
        # of boxes is 100. Classes are ordered by id.
        accumulated = self._evaluation().eval
        assert accumulated is not None
        precision = accumulated["precision"][:, :, :, 0, -1]
        place = np.argsort(np.argsort(self._category_ids))
        scores = {}
        for key, k in zip(self._keys(), place, strict=True):
            known = precision[:, :, k][precision[:, :, k] > -1]
            scores[key] = float(np.mean(known)) if known.size else _WITHOUT_OBJECTS
        return scores

    def _keys(self) -> list[str]:
        return [f"AP/{name}" for name in self._names]


def _are_ids(known: list[Any]) -> bool:
    return all(isinstance(x, int) for x in known) and len(set(known)) == len(known)


def _as_xywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], 1)


def _with_ending(stem: epath.Path, ending: str) -> epath.Path:
    return stem.parent / f"{stem.name}{ending}"
