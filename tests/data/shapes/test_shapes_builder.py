import dataclasses

import numpy as np

from hybrid_jax.data.shapes import shapes
from hybrid_jax.data.shapes.tfds_builder import _objects

BARRED = dataclasses.replace(shapes.SPLITS["train"], bars=8)


def test_areas_count_the_visible_pixels_of_each_object():
    hidden = 0
    for index in range(30):
        drawn = shapes.draw_example(index, split=BARRED, size_px=32)
        instances = drawn["instances"]
        masks = [instances == number for number in np.unique(instances)[1:]]
        hidden += len(masks) - len(drawn["boxes_xyxy_px"])
        objects = _objects(drawn, size_px=32)
        for item, box in zip(objects, drawn["boxes_xyxy_px"], strict=True):
            filling = [mask.sum() for mask in masks if _bounds(mask) == box.tolist()]
            assert item["area"] in filling
            assert type(item["area"]) is int
    assert hidden  # objects without a box shift no area to another


def _bounds(mask: np.ndarray) -> list[int]:
    rows, columns = np.where(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
