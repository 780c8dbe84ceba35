"""Small data sets with boxes and masks that the tests of the data layer share."""

import json
import pathlib

import numpy as np
from data_examples import random_image
from PIL import Image

from hybrid_jax.contracts import DatasetInfo, Example

INFO = DatasetInfo(box_names=("cat", "dog"), segmentation_names=("sky", "sea", "sand"))


def example(**changes) -> Example:
    """Returns an image of 20x30 px with two boxes and a mask, with `changes`."""
    mask = np.zeros((20, 30), np.uint8)
    mask[10:], mask[0] = 2, 255
    return {
        "image": random_image(),
        "boxes_xyxy_px": np.float32([[2, 3, 12, 9], [10, 5, 30, 20]]),
        "box_labels": np.int32([1, 0]),
        "box_ids": np.int64([71, 72]),
        "segmentation": mask,
        "image_id": 5,
        "where": "photo.jpg",
    } | changes


class ListedSource:
    """The examples of a list."""

    def __init__(self, examples: list[Example], *, info: DatasetInfo = INFO):
        self.examples = examples
        self.info = info

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def write_image(path: pathlib.Path, *, seed: int = 0, hw=(20, 30)) -> np.ndarray:
    """Writes and returns noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = random_image(seed, hw=hw)
    Image.fromarray(image).save(path)
    return image


def write_mask(path: pathlib.Path, ids: np.ndarray) -> None:
    """Writes ids as a palette PNG, as VOC and ADE20K do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("P", ids.shape[::-1])
    picture.putdata(ids.ravel().tolist())
    picture.putpalette(
        [channel for i in range(256) for channel in (255 - i, i, 7 * i % 256)]
    )
    picture.save(path)


def coco_content() -> dict:
    """Returns three images, one without objects, of which one annotation is a crowd."""
    shared = dict(iscrowd=0, area=30.5)
    return dict(
        images=[
            dict(id=7, file_name="b.png", height=20, width=30),
            dict(id=3, file_name="a.png", height=20, width=30),
            dict(id=9, file_name="deep/c.png", height=20, width=30),
        ],
        annotations=[
            dict(id=11, image_id=3, category_id=90, bbox=[1, 2, 10.5, 6], **shared),
            dict(id=12, image_id=7, category_id=4, bbox=[0, 0, 30, 20], **shared)
            | dict(iscrowd=1, segmentation=dict(size=[20, 30], counts=[0, 600])),
            dict(id=10, image_id=3, category_id=4, bbox=[5, 5, 4, 3], iscrowd=0)
            | dict(segmentation=[[5, 5, 9, 5, 9, 8, 5, 8]]),
            dict(id=15, image_id=7, category_id=90, bbox=[3, 4, 2, 2], **shared)
            | dict(segmentation=dict(size=[20, 30], counts="T3X0")),
        ],
        categories=[dict(id=90, name="dog"), dict(id=4, name="cat")],
    )


def write_coco(root: pathlib.Path, content: dict | None = None) -> str:
    """Writes images and json; returns the location behind `coco:`."""
    content = coco_content() if content is None else content
    for number, name in enumerate(("b.png", "a.png", "deep/c.png")):
        write_image(root / "images" / name, seed=number)
    (root / "all.json").write_text(json.dumps(content))
    return f"{root}/images/,{root}/all.json"
