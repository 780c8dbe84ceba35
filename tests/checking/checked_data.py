"""A small data set of every registered kind, for whatever reads all of them."""

import functools
import gzip
import json
import pathlib
import shutil
import struct
import tempfile
from collections.abc import Callable

import numpy as np
import pytest
from data_examples import write_class_folders
from dense_examples import write_image, write_mask

from hybrid_jax.config import changed, defaults
from hybrid_jax.data.shapes.tfds_builder import HybridShapes
from hybrid_jax.packing.pack import pack

_SPLITS = {"train": 6, "val": 2, "test": 2}


def _images(root: pathlib.Path, pattern: str) -> list[tuple[str, int]]:
    """Writes different images of 20x30 px; returns the split and number of each."""
    written = [(split, i) for split, count in _SPLITS.items() for i in range(count)]
    for seed, (split, i) in enumerate(written):
        write_image(root / pattern.format(split=split, i=f"{split}{i}"), seed=seed)
    return written


def _folder(root: pathlib.Path) -> str:
    write_class_folders(root, {f"{s}/{c}": n for s, n in _SPLITS.items() for c in "ab"})
    return f"folder:{root}"


def _csv(root: pathlib.Path) -> str:
    rows = [f"{s}{i}.png,{'ab'[i % 2]},{s}" for s, i in _images(root, "{i}.png")]
    (root / "t.csv").write_text("\n".join(["image,label,split", *rows]))
    return f"csv:{root}/t.csv"


def _csv_boxes(root: pathlib.Path) -> str:
    written = _images(root, "{i}.png")
    rows = [f"{s}{i}.png,{'ab'[i % 2]},1,2,9,8,{s}" for s, i in written]
    (root / "t.csv").write_text("\n".join(["image,label,x1,y1,x2,y2,split", *rows]))
    return f"csv:{root}/t.csv"


def _coco(root: pathlib.Path) -> str:
    written = _images(root, "{split}/{i}.png")
    for split in _SPLITS:
        numbers = [i for s, i in written if s == split]
        images = [dict(id=i, file_name=f"{split}{i}.png") for i in numbers]
        annotations = [
            dict(id=i, image_id=i, category_id=1 + i % 2, bbox=[1, 2, 8, 6])
            | dict(segmentation=[[1, 2, 9, 2, 9, 8, 1, 8]])
            for i in numbers
        ]
        categories = [dict(id=1, name="a"), dict(id=2, name="b")]
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / f"{split}.json").write_text(json.dumps(content))
    return f"coco:{root}/{{split}},{root}/{{split}}.json"


def _yolo(root: pathlib.Path) -> str:
    lines = [f"{split}: images/{split}" for split in _SPLITS]
    (root / "data.yaml").write_text("\n".join(["names: [a, b]", *lines]))
    for split, i in _images(root, "images/{split}/{i}.png"):
        path = root / f"labels/{split}/{split}{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{i % 2} 0.5 0.5 0.5 0.5\n")
    return f"yolo:{root}"


def _lists(root: pathlib.Path, kind: str, written: list[tuple[str, int]]) -> None:
    for split in _SPLITS:
        path = root / f"ImageSets/{kind}/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(f"{s}{i}" for s, i in written if s == split))


def _voc(root: pathlib.Path) -> str:
    written = _images(root, "JPEGImages/{i}.png")
    box = "<xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax>"
    (root / "Annotations").mkdir()
    for split, i in written:
        one = f"<object><name>{'ab'[i % 2]}</name><bndbox>{box}</bndbox></object>"
        path = root / f"Annotations/{split}{i}.xml"
        path.write_text(f"<annotation>{one}</annotation>")
    _lists(root, "Main", written)
    return f"voc:{root}"


def _voc_seg(root: pathlib.Path) -> str:
    written = _images(root, "JPEGImages/{i}.png")
    (root / "classes.txt").write_text("a\nb\n")
    for split, i in written:
        mask = np.eye(20, 30, dtype=np.uint8)
        write_mask(root / f"SegmentationClass/{split}{i}.png", mask)
    _lists(root, "Segmentation", written)
    return f"voc_seg:{root}"


def _seg(root: pathlib.Path) -> str:
    for split, i in _images(root, "img/{split}/{i}.png"):
        write_mask(root / f"mask/{split}/{split}{i}.png", np.eye(20, 30, dtype=np.uint8))
    return f"seg:{root}/img,{root}/mask"


def _hf_dataset(root: pathlib.Path) -> str:
    library = pytest.importorskip("datasets", reason="pip install 'hybrid_jax[datasets]'")
    label = library.ClassLabel(names=["a", "b"])
    features = library.Features({"image": library.Image(), "label": label})
    written = _images(root, "{i}.png")
    splits = library.DatasetDict()
    for split in _SPLITS:
        numbers = [i for s, i in written if s == split]
        images = [
            {"bytes": (root / f"{split}{i}.png").read_bytes(), "path": None}
            for i in numbers
        ]
        content = {"image": images, "label": [i % 2 for i in numbers]}
        splits[split] = library.Dataset.from_dict(content, features=features)
    splits.save_to_disk(str(root / "saved"))
    return f"hf_dataset:{root}/saved"


def _mnist(root: pathlib.Path) -> str:
    for prefix, count in (("train", 24), ("t10k", 4)):
        images = np.random.default_rng(count).integers(0, 256, (count, 5, 6), np.uint8)
        for name, array in (("images", images), ("labels", np.arange(count) % 10)):
            header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
            content = header + array.astype(np.uint8).tobytes()
            path = root / f"{prefix}-{name}-idx{array.ndim}-ubyte.gz"
            path.write_bytes(gzip.compress(content))
    return f"mnist:{root}"


class CheckedShapes(HybridShapes):
    """Five examples of each split."""

    limit = 5


@functools.cache
def _built() -> str:
    """Returns where the examples are, drawn once for all tests of a process."""
    root = tempfile.mkdtemp(prefix="checked-shapes-")
    builder = CheckedShapes(config="s64", data_dir=root, file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return root


def _tfds(root: pathlib.Path) -> str:
    shutil.copytree(_built(), root, dirs_exist_ok=True)
    return "tfds:checked_shapes/s64"


def _packed(root: pathlib.Path, write: Callable[[pathlib.Path], str], task: str) -> str:
    name = write(root)
    config = changed(defaults("tiny"), {"data.name": name, "task.name": task})
    pack(config, "", output=f"{root}/packed")
    return f"records:{root}/packed"


WRITERS = {
    ("classification", "csv"): _csv,
    ("classification", "digits"): lambda root: "digits",
    ("classification", "folder"): _folder,
    ("classification", "hf_dataset"): _hf_dataset,
    ("classification", "mnist"): _mnist,
    ("classification", "records"): lambda r: _packed(r, _folder, "classification"),
    ("classification", "shapes"): lambda root: "shapes",
    ("classification", "tfds"): _tfds,
    ("detection", "coco"): _coco,
    ("detection", "csv"): _csv_boxes,
    ("detection", "records"): lambda root: _packed(root, _coco, "detection"),
    ("detection", "shapes128"): lambda root: "shapes128",
    ("detection", "tfds"): _tfds,
    ("detection", "voc"): _voc,
    ("detection", "yolo"): _yolo,
    ("segmentation", "coco_seg"): lambda root: _coco(root).replace("coco", "coco_seg", 1),
    ("segmentation", "records"): lambda root: _packed(root, _seg, "segmentation"),
    ("segmentation", "seg"): _seg,
    ("segmentation", "shapes"): lambda root: "shapes",
    ("segmentation", "tfds"): _tfds,
    ("segmentation", "voc_seg"): _voc_seg,
}
"""(task, kind of source) -> what writes such data into a folder and returns its name."""
