"""A training batch without a data set: the right keys, shapes and types alone."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from ml_collections import ConfigDict

from hybrid_jax.contracts import COUNTERS, Batch, Example
from hybrid_jax.data.example_loader import ExampleLoader

_SIDE_PX = 32


def blank_batch(
    data: ConfigDict, *, targets: Sequence[str] = ("label",), batch_size: int
) -> Batch:
    """Returns what travels to the devices of one training batch, all rows alike.

    One black image goes through the real transforms, so what they change about keys and
    shapes is right. The rows are views of one another and take the memory of one.

    Args:
        data: the resolved `config.data`.
        targets: of "label", "boxes" and "segmentation".
        batch_size: B, rows over all processes.
    """
    loader = ExampleLoader([_example()], data=data, targets=targets)
    row = loader.train(0, np.random.default_rng(0))
    rows = {
        name: np.broadcast_to(value, (batch_size, *np.shape(value)))
        for name, value in row.items()
        if name not in COUNTERS
    }
    return cast(Batch, rows)


def _example() -> Example:
    side = _SIDE_PX
    return dict(
        image=np.zeros((side, side, 3), np.uint8),
        label=0,
        boxes_xyxy_px=np.array([[0, 0, side, side]], np.float32),
        box_labels=np.zeros(1, np.int32),
        segmentation=np.zeros((side, side), np.uint8),
    )
