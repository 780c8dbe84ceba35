"""The training split of a run for modes that need its classes and none of its examples."""

import dataclasses

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.contracts import DatasetInfo, Example, Source
from hybrid_jax.data.sources import SOURCES, open_split
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints, shapes_by_path
from hybrid_jax.train.checkpoints.dataset_record import read_record, say_unrecorded
from hybrid_jax.train.experiment import prepare


class RecordedSource:
    """A source whose `info` and length are known and whose examples are not there.

    Args:
        info: of the data set.
        length: how many examples it has.
    """

    def __init__(self, info: DatasetInfo, *, length: int):
        self.info = info
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        raise IndexError(index)


def recorded_source(
    config: ConfigDict,
    workdir: epath.Path,
    *,
    largest_hw: tuple[int, int] | None = (1, 1),
    compare: bool = True,
) -> Source:
    """Returns what stands for the data of a run, with the classes of its `dataset.json`.

    A run from before that file gets the classes that its data has now. Where that is not
    on this machine, its checkpoint tells how many there are, and numbers are their names.
    One line says so.

    Args:
        config: of the run.
        workdir: of the run.
        largest_hw: (height, width) in px that no image exceeds; None if not known.
        compare: whether to open the data, where it is on this machine, and refuse it if
            its classes are others now.

    Raises:
        UserError: other classes, a damaged record, or no checkpoint.
    """
    record = read_record(workdir)
    opened, missing = (
        _opened(config.data) if compare else (None, "the data is not looked at")
    )
    if record is not None:
        if opened is not None:
            record.check_classes(opened.info, workdir=workdir, data=config.data.name)
        info = record.info(largest_hw=largest_hw)
        return RecordedSource(info, length=record.train_examples)
    if opened is not None:
        say_unrecorded(workdir, classes="are taken to be those that the data has now")
        info = dataclasses.replace(opened.info, largest_hw=largest_hw)
        return RecordedSource(info, length=len(opened))
    count = classes_in_checkpoint(workdir, config)
    say_unrecorded(workdir, classes=f"have numbers and no names, because {missing}")
    return RecordedSource(numbered(count, largest_hw=largest_hw), length=0)


def numbered(count: int, *, largest_hw: tuple[int, int] | None) -> DatasetInfo:
    """Returns what a data set of `count` classes of any kind says, numbers as names."""
    names = tuple(map(str, range(count)))
    return DatasetInfo(
        num_classes=count,
        class_names=names,
        box_names=names,
        segmentation_names=names,
        largest_hw=largest_hw,
    )


def classes_in_checkpoint(workdir: epath.Path, config: ConfigDict) -> int:
    """Returns for how many classes the model of a workdir was made.

    Only for runs without `dataset.json`. The sides of the model's arrays grow by as much
    with every class, so two models of few classes tell how many the checkpoint's are.

    Raises:
        UserError: there is no checkpoint that tells, or none of another number of classes
            alone.
    """
    if not (workdir / "checkpoints").exists():
        raise UserError(f"{workdir} has no checkpoints. Train first, or name another one.")
    with Checkpoints(workdir, keep=1, best_metric="", read_only=True) as checkpoints:
        saved = checkpoints.saved_shapes()
    if not saved:
        raise UserError(
            f"{workdir / 'checkpoints'}: no checkpoint there can be read, so for how many "
            f"classes the model was made is not known. Restore one from a copy, or train "
            f"first."
        )

    def shapes(count: int) -> dict[str, tuple[int, ...]]:
        source = RecordedSource(numbered(count, largest_hw=(1, 1)), length=0)
        experiment = prepare(
            config, source=source, workdir=workdir, sizes_from_run=True, continued=True
        )
        return shapes_by_path(experiment.shapes)

    two, three = shapes(2), shapes(3)
    for path, shape in two.items():
        sides = zip(shape, three[path], saved.get(path, shape), strict=True)
        for of_two, of_three, found in sides:
            if of_two != of_three:
                return 2 + (found - of_two) // (of_three - of_two)
    raise UserError(f"{workdir} holds the state of another model.")


def _opened(data: ConfigDict) -> tuple[Source | None, str]:
    """Returns the training split, or None and why it cannot be opened."""
    SOURCES.get(data.name.partition(":")[0])  # a mistyped kind is not missing data
    try:
        return open_split(data, split=data.train_split), ""
    except UserError as error:
        return None, str(error)
