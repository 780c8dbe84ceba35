"""Data without splits is shared out by a hash, and the first lines of a run say so."""

import json

import numpy as np
import pytest
from PIL import Image

from hybrid_jax.data.sources import open_source

COUNT = 40


def draw(folder, count=COUNT):
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((8, 8, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


def as_folder(root):
    draw(root / "cat", COUNT // 2)
    draw(root / "dog", COUNT // 2)
    return f"folder:{root}"


def as_csv(root):
    draw(root / "images")
    rows = [f"images/{n:03}.png,{'cat' if n % 2 else 'dog'}" for n in range(COUNT)]
    (root / "labels.csv").write_text("\n".join(["image,label", *rows]))
    return f"csv:{root / 'labels.csv'}"


def as_seg(root):
    draw(root / "images")
    (root / "masks").mkdir()
    for number in range(COUNT):
        mask = np.zeros((8, 8), np.uint8)
        mask[2:5] = 1
        Image.fromarray(mask).save(root / "masks" / f"{number:03}.png")
    return f"seg:{root / 'images'},{root / 'masks'}"


def as_coco(root):
    draw(root / "images")
    images = [dict(id=n, file_name=f"{n:03}.png", width=8, height=8) for n in range(COUNT)]
    box = dict(category_id=1, bbox=[1, 1, 4, 4], area=16, iscrowd=0)
    annotations = [dict(box, id=n, image_id=n) for n in range(COUNT)]
    table = dict(
        images=images, annotations=annotations, categories=[dict(id=1, name="cat")]
    )
    (root / "boxes.json").write_text(json.dumps(table))
    return f"coco:{root / 'images'},{root / 'boxes.json'}"


@pytest.mark.parametrize("made", [as_folder, as_csv, as_seg, as_coco])
def test_shares_of_data_without_splits_are_said(tmp_path, made):
    root = tmp_path / "data"
    root.mkdir()
    name = made(root)
    train = open_source(name, split="train")
    said = [note for note in train.info.notes if note.startswith("there are no splits")]
    assert said == [
        "there are no splits: of the 40 images a tenth is the test split and another tenth "
        "validation, by a hash of their names; the others train"
    ]
    lengths = [len(open_source(name, split=s)) for s in ("train", "validation", "test")]
    assert sum(lengths) == COUNT
    assert lengths[0] > COUNT // 2
