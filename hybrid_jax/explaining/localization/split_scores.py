"""How well a run's views find the objects of a split, whose boxes are known."""

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from hybrid_jax.contracts import Source
from hybrid_jax.data.transforms.sample import Sample
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError
from hybrid_jax.explaining.explained_run import ExplainedRun
from hybrid_jax.explaining.localization.heat_map_scores import (
    box_share,
    energy_in_boxes,
    pointing_game,
)
from hybrid_jax.train.reporting.heartbeat import Heartbeat, print_above_bars

_BATCH = 32  # images; attention weights take (heads, N, N) of memory for each


def localization_scores(
    run: ExplainedRun, source: Source, *, progress: bool = False
) -> dict[str, Any]:
    """Scores every view of a run over a split: pointing game and energy inside boxes.

    The class that is explained is the true one. For boxes with the task's own classes it
    is that of the largest box, and only boxes of that class count; otherwise all boxes
    count, and masks are explained for the predicted class. Images without boxes are left
    out, and those that cannot be read where `data.on_bad_image` says so.

    Args:
        run: the restored run.
        source: a split with boxes.
        progress: whether to show a bar where there is a terminal. Without one, a line
            now and then tells how far it is.

    Returns:
        `examples`, how many were scored; `uniform`, the score of a uniform map; and by
        view `of`, what it is, `pointing_game` and `energy_in_boxes`, means over the
        images.

    Raises:
        UserError: the data has no boxes, or no image of the split has one.
    """
    if not source.info.box_names:
        raise UserError(
            "--mode=explain: without --input it scores localization, but the data has no "
            "boxes. Give the images to explain: --input=PATH[,PATH...]."
        )
    shown = progress and sys.stderr.isatty()
    bar = tqdm(total=len(source), desc="explaining", leave=False, disable=not shown)
    sums: dict[str, dict[str, Any]] = {}
    count, uniform, read = 0, 0.0, 0

    def advance() -> None:
        nonlocal read
        read += 1
        bar.update()

    with (
        Heartbeat(say=print_above_bars) as heartbeat,
        heartbeat.during(lambda: f"explaining image {read:,} of {len(source):,}"),
        bar,
    ):
        samples = _with_boxes(run, source, advance)
        while batch := list(itertools.islice(samples, _BATCH)):
            boxes = [_boxes(run, sample) for sample in batch]
            count += len(batch)
            uniform += box_share(boxes, image_hw=batch[0].hw).sum()
            _add(run, batch, boxes, sums)
    if not count:
        raise UserError("--mode=explain: no image of the split has a box to be found.")
    views = {
        view: dict(of=found["of"])
        | {k: found[k] / count for k in ("pointing_game", "energy_in_boxes")}
        for view, found in sums.items()
    }
    return dict(examples=count, uniform=uniform / count, views=views)


def _with_boxes(
    run: ExplainedRun, source: Source, advance: Callable[[], None]
) -> Iterator[Sample]:
    choices = {
        BadImageError: run.data.on_bad_image,
        BadAnnotationError: run.data.on_bad_annotation,
    }
    skipped = tuple(error for error, choice in choices.items() if choice == "skip")
    for index in range(len(source)):
        advance()
        try:
            sample = run.sample(source[index], with_boxes=True)
        except skipped:
            continue
        if sample.boxes_xyxy_px is not None and len(sample.boxes_xyxy_px):
            yield sample


def _boxes(run: ExplainedRun, sample: Sample) -> np.ndarray:
    """Returns the boxes that count, (M, 4)."""
    boxes, labels = sample.boxes_xyxy_px, sample.box_labels
    assert boxes is not None
    assert labels is not None
    return boxes if run.task != "detection" else boxes[labels == _class(run, sample)]


def _class(run: ExplainedRun, sample: Sample) -> int | None:
    """Returns the class to explain; None for the predicted one."""
    if run.task == "classification":
        return sample.label
    if run.task == "segmentation":
        return None
    boxes, labels = sample.boxes_xyxy_px, sample.box_labels
    assert boxes is not None
    assert labels is not None
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return int(labels[areas.argmax()])


def _add(run: ExplainedRun, batch, boxes, sums: dict[str, dict[str, Any]]) -> None:
    """Adds the scores of a batch, which is filled up to the size of all others."""
    samples = [*batch, *[batch[-1]] * (_BATCH - len(batch))]
    classes = [_class(run, sample) for sample in samples]
    chosen = None if None in classes else np.array(classes, np.int32)
    found = run.explain(samples, classes=chosen)
    names = found.view_names()
    for view, heat in found.views().items():
        heat = heat[: len(batch)]
        into = sums.setdefault(
            view, dict(of=names[view], pointing_game=0.0, energy_in_boxes=0.0)
        )
        into["pointing_game"] += pointing_game(heat, boxes).sum()
        into["energy_in_boxes"] += energy_in_boxes(heat, boxes).sum()
