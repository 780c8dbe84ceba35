"""A batch of nothing has the keys, shapes and types of real ones."""

import numpy as np
import pytest
from data_examples import NumberedSource, data_config
from dense_examples import ListedSource, example

from hybrid_jax.contracts import COUNTERS
from hybrid_jax.data.blank_batch import blank_batch
from hybrid_jax.data.pipeline import train_batches

DENSE = dict(max_boxes=4, crop="scale_jitter")


def types(batch):
    return {
        name: (np.shape(value), value.dtype.name)
        for name, value in batch.items()
        if name not in COUNTERS
    }


@pytest.mark.parametrize(
    ("source", "targets", "changes"),
    [
        (NumberedSource(20), ("label",), dict(crop="pad", randaugment_layers=2)),
        (ListedSource([example()]), ("boxes",), DENSE),
        (ListedSource([example()]), ("segmentation",), DENSE),
        (ListedSource([example()]), ("boxes", "segmentation"), DENSE),
    ],
    ids=["label", "boxes", "segmentation", "both"],
)
def test_types_are_those_of_a_real_batch(source, targets, changes):
    data = data_config(**changes)
    options = dict(data=data, targets=targets, batch_size=8)
    stream = train_batches(source, seed=0, start_step=0, **options)
    real = next(iter(stream))
    stream.close()
    blank = blank_batch(**options)
    assert types(blank) == types(real)
    assert not blank.keys() & set(COUNTERS)


def test_rows_share_the_memory_of_one():
    image = blank_batch(data_config(), batch_size=1_000_000)["image"]
    assert image.shape == (1_000_000, 12, 16, 3)
    assert image.strides[0] == 0
