"""What stands in for a data set that is not on this machine: classes without names."""

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints, shapes_by_path
from hybrid_jax.train.experiment import prepare


class InfoAlone:
    """A source that is known but not there: an `info` and no examples.

    Args:
        info: of the data set.
    """

    def __init__(self, info: DatasetInfo):
        self.info = info

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Example:
        raise IndexError(index)


def numbered(count: int, *, largest_hw: tuple[int, int]) -> DatasetInfo:
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

    The sides of the model's arrays grow by as much with every class, so that two models of
    few classes tell how many those of the checkpoint are for.

    Raises:
        UserError: there is no checkpoint, or none of another number of classes alone.
    """
    if not (workdir / "checkpoints").exists():
        raise UserError(f"{workdir} has no checkpoints. Train first, or name another one.")
    with Checkpoints(workdir, keep=1, best_metric="", read_only=True) as checkpoints:
        saved = checkpoints.saved_shapes()
    two, three = (
        shapes_by_path(
            prepare(
                config,
                continued=True,
                source=InfoAlone(numbered(count, largest_hw=(1, 1))),
            ).shapes
        )
        for count in (2, 3)
    )
    for path, shape in two.items():
        sides = zip(shape, three[path], saved.get(path, shape), strict=True)
        for of_two, of_three, found in sides:
            if of_two != of_three:
                return 2 + (found - of_two) // (of_three - of_two)
    raise UserError(f"{workdir} holds the state of another model.")
