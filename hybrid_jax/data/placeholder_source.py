"""What stands in for a data set that is not on this machine, where only shapes matter."""

from ml_collections import ConfigDict

from hybrid_jax.contracts import DatasetInfo, Example, Source
from hybrid_jax.data.sources import SOURCES, open_split
from hybrid_jax.errors import UserError

# As in ImageNet-1k, COCO and ADE20K.
LABELS, BOXES, MASKS = 1000, 80, 150


class StandIn:
    """A source with an `info` of usual size and one example that cannot be read."""

    info = DatasetInfo(
        num_classes=LABELS,
        class_names=tuple(f"class {i}" for i in range(LABELS)),
        box_names=tuple(f"object {i}" for i in range(BOXES)),
        segmentation_names=tuple(f"region {i}" for i in range(MASKS)),
        largest_hw=(1024, 1024),
    )

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Example:
        raise UserError("the data set is not on this machine.")


def train_split_or_placeholder(data: ConfigDict) -> tuple[Source, str]:
    """Opens the training split; where that fails, returns a stand-in and says why.

    Args:
        data: the `data` branch of a config.

    Returns:
        The source, and "" or why it is a stand-in.

    Raises:
        UserError: no such kind of source; that is a slip, not missing data.
    """
    SOURCES.get(data.name.partition(":")[0])
    try:
        return open_split(data, split=data.train_split), ""
    except UserError as error:
        return StandIn(), str(error)
