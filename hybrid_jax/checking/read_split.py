"""Every example of a split, read once in several threads."""

import concurrent.futures
import functools
import os
import sys

from ml_collections import ConfigDict
from tqdm import tqdm

from hybrid_jax.checking.example_facts import ExampleFacts, facts_of
from hybrid_jax.contracts import Source
from hybrid_jax.data.reading import reading_as

_AT_A_TIME = 1024  # examples handed to the threads together; bounds what waits


def read_split(
    source: Source,
    *,
    split: str,
    target: str,
    image_hw: tuple[int, int],
    data: ConfigDict,
    threads: int | None,
    progress: bool,
) -> list[ExampleFacts]:
    """Returns the facts of all examples, in order.

    Args:
        source: one that leaves out what is faulty and counts it.
        split: its name, for the progress bar.
        target: "label", "boxes" or "segmentation".
        image_hw: (height, width) in px of the model's images.
        data: the `data` branch of a config, for how images are read.
        threads: that decode; None: one for each core, at most 16.
        progress: whether to show a bar where there is a terminal.
    """
    facts_at = functools.partial(
        _limited, source, target=target, image_hw=image_hw, data=data
    )
    facts: list[ExampleFacts] = []
    bar = tqdm(
        total=len(source),
        desc=f"reading {split}",
        leave=False,
        disable=not (progress and sys.stderr.isatty()),
    )
    count = threads or min(16, os.cpu_count() or 1)
    with bar, concurrent.futures.ThreadPoolExecutor(count) as pool:
        for start in range(0, len(source), _AT_A_TIME):
            end = min(start + _AT_A_TIME, len(source))
            for one in pool.map(facts_at, range(start, end)):
                facts.append(one)
                bar.update(1)
    return facts


def _limited(source: Source, index: int, *, data: ConfigDict, **wanted) -> ExampleFacts:
    with reading_as(data):
        return facts_of(source, index, **wanted)
