"""A folder tree as the pages draw it, made real with small files of the right kind."""

import gzip
import json
import pathlib
import re
import struct

import numpy as np
from PIL import Image

HW = (12, 16)
_MASK_FOLDERS = {"masks", "SegmentationClass"}
_XML = """<annotation><size><height>12</height><width>16</width></size><object><name>cat
</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>
</annotation>"""


def paths_of(drawing: str) -> list[pathlib.PurePosixPath]:
    """Returns the files of a drawing, below the folder of its first line."""
    files, folders = [], []
    lines = drawing.splitlines()
    entries = [re.match(r"((?:│   |    )*)[├└]── (\S+)", line) for line in lines[1:]]
    assert all(entries), f"not a tree: {drawing}"
    for entry, after in zip(entries, [*entries[1:], None], strict=True):
        depth, name = len(entry[1]) // 4, entry[2]
        folders[depth:] = [name]
        if after is None or len(after[1]) // 4 <= depth:
            files.append(pathlib.PurePosixPath(*folders))
    return files


def make(drawing: str, root: pathlib.Path) -> pathlib.Path:
    """Makes the files below `root` / the name in the first line; returns that folder."""
    folder = root / drawing.splitlines()[0].lstrip("~/")
    files = paths_of(drawing)
    for number, path in enumerate(files):
        where = folder / path
        where.parent.mkdir(parents=True, exist_ok=True)
        _write(where, path, files, number)
    return folder


def _write(where, path, files, number) -> None:
    if path.suffix == ".png" and _MASK_FOLDERS & set(path.parts):
        Image.fromarray(np.eye(*HW, dtype=np.uint8)).save(where)
    elif path.suffix in (".jpg", ".png"):
        Image.fromarray(np.full((*HW, 3), 9 * number, np.uint8)).save(where)
    elif path.suffix == ".xml":
        where.write_text(_XML)
    elif path.suffix == ".json":
        where.write_text(json.dumps(_coco(path, files)))
    elif path.suffix == ".yaml":
        where.write_text("train: images/train\nval: images/val\nnames: [pothole]\n")
    elif "labels" in path.parts:
        where.write_text("0 0.5 0.5 0.25 0.5\n")
    elif path.suffix == ".csv":
        photos = [f for f in files if f.suffix == ".jpg"]
        where.write_text("image,label\n" + "".join(f"{f},leaf\n" for f in photos))
    elif path.name == "classes.txt":
        where.write_text("background\nnucleus\n")
    elif path.suffix == ".txt":
        where.write_text(_listed(path, files))
    elif path.suffix == ".gz":
        count = 12
        image = "images" in path.name
        shape = (count, 28, 28) if image else (count,)
        header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
        where.write_bytes(gzip.compress(header + bytes(int(np.prod(shape)))))
    else:
        raise AssertionError(f"no content for {path}")


def _coco(path, files) -> dict:
    """Returns the json of the images in the folder of its split, or of all of them."""
    split = re.sub("^instances_", "", path.stem)
    images = [f for f in files if f.suffix != ".json" and f.parts[0] in (split, "images")]
    box = dict(category_id=1, bbox=[2, 2, 8, 6])
    return dict(
        images=[dict(id=i, file_name=image.name) for i, image in enumerate(images)],
        annotations=[dict(id=i, image_id=i, **box) for i in range(len(images))],
        categories=[dict(id=1, name="cell")],
    )


def _listed(path, files) -> str:
    """Returns the ids of a list of VOC: one image for each list."""
    lists = [f for f in files if f.parts[0] == "ImageSets"]
    images = [f.stem for f in files if f.parts[0] == "JPEGImages"]
    return f"{images[lists.index(path)]}\n"
