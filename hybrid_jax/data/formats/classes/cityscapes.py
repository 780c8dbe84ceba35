"""The 19 classes that Cityscapes scores, and the ids its files have for them.

Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, 2016. Its
`labelIds` masks tell 34 ids apart; 15 of them are too rare or no classes, and void here.
"""

import numpy as np

_ID_OF_NAME = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CLASSES = tuple(_ID_OF_NAME)


def scored_classes(label_ids: np.ndarray) -> np.ndarray:
    """Turns `labelIds` (H, W) uint8 to classes 0 to 18, and 255 for all other ids."""
    class_of_id = np.full(256, 255, np.uint8)
    class_of_id[list(_ID_OF_NAME.values())] = np.arange(len(CLASSES))
    return class_of_id[label_ids]
