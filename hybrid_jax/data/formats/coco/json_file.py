"""COCO's `instances_*.json` as arrays: boxes, and outlines where they are asked for.

Format: Lin et al., Microsoft COCO: Common Objects in Context, 2014.
"""

import dataclasses
import json
import pathlib
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hybrid_jax.data.formats.coco.objects import object_columns
from hybrid_jax.data.formats.coco.outlines import Outline, outline_of
from hybrid_jax.data.formats.json_values import identifier, whole_number
from hybrid_jax.data.formats.text_files import read_text
from hybrid_jax.errors import UserError

_TO_DO = "Correct it, or leave such out with --config.data.on_bad_annotation=skip."


@dataclasses.dataclass(frozen=True)
class CocoTable:
    """The images of a json file and, image by image, their objects.

    Attributes:
        names: K names of categories, by ascending id; no two are alike.
        category_ids: their ids; label k is the category `category_ids[k]`.
        image_ids: N ids of images, int or str, in the order of the file; None if missing.
        file_names: N paths below the folder of the images.
        image_faults: N texts, what makes an image's entry unusable; "" for all others.
        first_fault: of an image or annotation; "" if there is none.
        sizes_hw: (N, 2) int32, as the file says, 0 where it does not.
        offsets: (N + 1,) int64; the objects of image i are offsets[i] to offsets[i + 1].
        boxes_xyxy_px: (M, 4) float32; NaN for an object whose box is missing.
        labels: (M,) int32; -1 for a category that is not in the file, and for annotations
            that are unusable: without an image they stand with the first.
        crowd: (M,) bool, regions of many objects.
        ids: (M,) int64, of the annotations; the order in the file where there are none.
        areas_px: (M,) float32, of the outlines; of the boxes where they are missing.
        outlines: M outlines, or texts why there is none; None for annotations that are
            unusable and stand with the first. Empty if they were not asked for.
    """

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_ids: list[int | str | None]
    file_names: list[str]
    image_faults: list[str]
    first_fault: str
    sizes_hw: np.ndarray
    offsets: np.ndarray
    boxes_xyxy_px: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    ids: np.ndarray
    areas_px: np.ndarray
    outlines: list[Outline | str | None]

    def of_images(self, chosen: np.ndarray) -> "CocoTable":
        """Returns the images with the numbers `chosen` (n,) and their objects."""
        counts = np.diff(self.offsets)[chosen]
        bounds = self.offsets.tolist()
        rows = [np.arange(bounds[i], bounds[i + 1]) for i in chosen]
        objects = np.concatenate([*rows, np.zeros(0, np.int64)])
        return dataclasses.replace(
            self,
            image_ids=[self.image_ids[i] for i in chosen],
            file_names=[self.file_names[i] for i in chosen],
            image_faults=[self.image_faults[i] for i in chosen],
            sizes_hw=self.sizes_hw[chosen],
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            boxes_xyxy_px=self.boxes_xyxy_px[objects],
            labels=self.labels[objects],
            crowd=self.crowd[objects],
            ids=self.ids[objects],
            areas_px=self.areas_px[objects],
            outlines=[self.outlines[row] for row in objects] if self.outlines else [],
        )


def read_coco_json(path: pathlib.Path, *, outlines: bool = False) -> CocoTable:
    """Reads a file with `images`, `annotations` and `categories`.

    What is wrong with one image or annotation is left to `data.on_bad_annotation`.

    Args:
        path: of the file.
        outlines: whether `segmentation` is read too; it is most of the file.

    Raises:
        UserError: the file is missing, no json, or lacks one of the three; a category lacks
            a key; an id or a category's name is there twice. Names file, key and id.
    """
    content = _load(path, hook=_with_outline if outlines else _without_outline)
    images, annotations, categories = (
        _entries(content, key, path) for key in ("images", "annotations", "categories")
    )
    categories = sorted(
        (_number(c, "id", "category", path), str(_value(c, "name", "category", path)))
        for c in categories
    )
    category_ids = tuple(number for number, _ in categories)
    _check_once(category_ids, "category", path)
    _check_names(categories, path)
    image_faults = [_image_fault(image, path) for image in images]
    image_ids = [identifier(image.get("id")) for image in images]
    _check_once((one for one in image_ids if one is not None), "image", path)
    table: dict[str, Any] = dict(
        names=tuple(text for _, text in categories),
        category_ids=category_ids,
        image_ids=image_ids,
        # Splits are shared out by names, so each needs one of its own.
        file_names=[
            str(image.get("file_name") or f"image {number} without file_name")
            for number, image in enumerate(images)
        ],
        image_faults=image_faults,
        sizes_hw=np.array(
            [[_side(image, k) or 0 for k in ("height", "width")] for image in images],
            np.int32,
        ).reshape(-1, 2),
    )
    owners, faults = _owners(annotations, image_ids, path)
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=len(images))
    objects = object_columns(annotations, category_ids)
    objects["labels"][list(faults)] = -1
    table |= {key: values[order] for key, values in objects.items()}
    table["outlines"] = []
    if outlines:
        drawn = [a.get("segmentation", "it has no segmentation") for a in annotations]
        table["outlines"] = [None if row in faults else drawn[row] for row in order]
    return CocoTable(
        **table,
        first_fault=next(filter(None, [*image_faults, *faults.values()]), ""),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
    )


def _load(path: pathlib.Path, *, hook: Callable[[dict], dict]) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path), object_hook=hook)
    except OSError as error:
        raise UserError(f"annotations {str(path)!r} cannot be read: {error}.") from error
    except ValueError as error:
        raise UserError(
            f"annotations {str(path)!r}: expected COCO json, but it cannot be parsed: "
            f"{error}."
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"annotations {str(path)!r}: expected a json object with images, annotations "
            f"and categories, got a {type(content).__name__}."
        )
    return content


def _without_outline(entry: dict[str, Any]) -> dict[str, Any]:
    # Polygons are most of the file, and lists of numbers many times their text.
    entry.pop("segmentation", None)
    return entry


def _with_outline(entry: dict[str, Any]) -> dict[str, Any]:
    # At once, for the same reason.
    if "segmentation" in entry:
        entry["segmentation"] = outline_of(entry["segmentation"])
    return entry


def _entries(content: dict[str, Any], key: str, path: pathlib.Path) -> list[dict]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        found = ", ".join(content) or "nothing"
        raise UserError(
            f"annotations {str(path)!r}: expected a list of objects under the key "
            f"{key!r}, found {found if key not in content else 'something else'}."
        )
    return entries


def _value(entry: dict[str, Any], key: str, what: str, path: pathlib.Path) -> Any:
    if key not in entry:
        called = f"id {entry['id']}" if "id" in entry else str(entry)[:80]
        raise UserError(
            f"annotations {str(path)!r}: the {what} of {called} lacks the key {key!r}."
        )
    return entry[key]


def _number(entry: dict[str, Any], key: str, what: str, path: pathlib.Path) -> int:
    value = _value(entry, key, what, path)
    number = whole_number(value)
    if number is None:
        raise UserError(
            f"annotations {str(path)!r}: expected whole numbers as {key!r} of every "
            f"{what}, got {str(value)[:80]!r}."
        )
    return number


def _check_once(ids: Iterable[int | str], what: str, path: pathlib.Path) -> None:
    seen: set[int | str] = set()
    for one in ids:
        if one in seen:
            raise UserError(
                f"annotations {str(path)!r}: the {what} of id {one!r} is there twice."
            )
        seen.add(one)


def _check_names(categories: list[tuple[int, str]], path: pathlib.Path) -> None:
    number_of: dict[str, int] = {}
    for number, name in categories:
        # Names join the files of splits: two alike would make one class two.
        first = number_of.setdefault(unicodedata.normalize("NFC", name.strip()), number)
        if first != number:
            raise UserError(
                f"annotations {str(path)!r}: the categories of the ids {first} and "
                f"{number} are both called {name!r}. Give each a name of its own, or make "
                f"them one."
            )


def _image_fault(image: dict[str, Any], path: pathlib.Path) -> str:
    """Returns what makes the entry unusable, '' if nothing does."""
    given = {key: value for key, value in image.items() if value is not None}
    try:
        for key in ("id", "file_name"):
            value = _value(given, key, "image", path)
            if identifier(value) is None or (key == "file_name" and value != str(value)):
                raise UserError(
                    f"annotations {str(path)!r}: the image of {str(image)[:80]} has "
                    f"{str(value)[:80]!r} as {key!r}; expected a text"
                    f"{' or a whole number' if key == 'id' else ''}."
                )
        for key in ("height", "width"):
            if _side(given, key) is None:
                raise UserError(
                    f"annotations {str(path)!r}: the image of {str(image)[:80]} has "
                    f"{str(given[key])[:80]!r} as {key!r}; expected px."
                )
    except UserError as error:
        return f"{error} {_TO_DO}"
    return ""


def _side(image: dict[str, Any], key: str) -> int | None:
    """Returns a side in px, 0 if it is not said; None if it cannot be one."""
    value: Any = image.get(key) or 0
    is_text = isinstance(value, str) and value.isascii() and value.isdecimal()
    side = whole_number(int(value[:10]) if is_text else value)
    return side if side is not None and 0 <= side < 2**31 else None


def _owners(
    annotations: list[dict], image_ids: list[int | str | None], path: pathlib.Path
) -> tuple[np.ndarray, dict[int, str]]:
    """Returns the number of each annotation's image, (M,) int64, and row -> fault."""
    number_of = {image_id: number for number, image_id in enumerate(image_ids)}
    number_of.pop(None, None)
    owners, faults = np.zeros(len(annotations), np.int64), {}
    for row, annotation in enumerate(annotations):
        try:
            image_id = identifier(_value(annotation, "image_id", "annotation", path))
            if "id" in annotation:
                _number(annotation, "id", "annotation", path)
        except UserError as error:
            faults[row] = f"{error} {_TO_DO}"
            continue
        owners[row] = number_of.get(image_id, 0)
        if image_id not in number_of:
            faults[row] = (
                f"annotations {str(path)!r}: the annotation of id "
                f"{annotation.get('id', row + 1)} belongs to the image {image_id!r}, which "
                f"is not among its {len(image_ids)} images. {_TO_DO}"
            )
    return owners, faults
