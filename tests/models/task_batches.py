"""A made-up batch for whatever task is registered, from what it says it needs."""

import numpy as np

from hybrid_jax.config import defaults, resolve
from hybrid_jax.contracts import VOID, DatasetInfo
from hybrid_jax.tasks import TASKS

INFO = DatasetInfo(
    num_classes=7,
    class_names=tuple("abcdefg"),
    box_names=("cat", "dog", "owl"),
    segmentation_names=("sky", "sea", "sand", "rock"),
    largest_hw=(256, 256),
)
_ROOM = 3  # rows for boxes


def task_for(name, *, hw):
    """Returns a registered task with its default options, and the K of its heads."""
    config = defaults("tiny")
    with config.ignore_type():
        config.data.image_size = hw
    entry = TASKS.get(name)
    task = entry(resolve(config, on_cpu=True).task, INFO)
    return task, entry.num_classes(INFO)


def batch_for(targets, *, hw):
    """Returns two rows of `contracts.Batch`, the image as normalized floats.

    The first has two objects in rows for three, the second none; both have void pixels,
    and the second lies at the right of some padding.
    """
    rng, (H, W) = np.random.default_rng(0), hw
    batch = dict(
        image=rng.standard_normal((2, H, W, 3)).astype(np.float32),
        mask=np.ones(2, bool),
        index=np.arange(2, dtype=np.int32),
    )
    if "label" in targets:
        batch["label"] = np.asarray([6, 0], np.int32)
    if {"boxes", "segmentation"} & set(targets):
        batch |= dict(
            original_hw=np.asarray([[H, W], [H, W - 9]], np.int32),
            scale_yx=np.ones((2, 2), np.float32),
            offset_yx=np.asarray([[0, 0], [0, 9]], np.float32),
            content_yxyx_px=np.asarray([[0, 0, H, W], [0, 9, H, W]], np.int32),
        )
    if "boxes" in targets:
        boxes = [[4.0, 6.0, 4 + W / 3, 6 + H / 2], [W / 2, H / 2, W / 2 + 12, H / 2 + 9]]
        batch |= dict(
            boxes_xyxy_px=np.zeros((2, _ROOM, 4), np.float32),
            box_labels=np.asarray([[2, 1, 0], [0, 0, 0]], np.int32),
            box_mask=np.asarray([[True, True, False], [False] * 3]),
        )
        batch["boxes_xyxy_px"][0, :2] = boxes
    if "segmentation" in targets:
        classes = rng.integers(0, len(INFO.segmentation_names), (2, H, W))
        classes[:, : H // 4] = VOID
        batch["segmentation"] = classes.astype(np.uint8)
    return batch
