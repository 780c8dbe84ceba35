"""A folder of packed data: `dataset.json` and the shards of its splits."""

import dataclasses
import json
from typing import Any

from etils import epath

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.errors import UserError

FORMAT = "hybrid_jax records 1"
FINISHED = "dataset.json"
BEGUN = "packing.json"
_TUPLES = ("class_names", "box_names", "box_category_ids", "segmentation_names", "notes")


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of records.

    Attributes:
        file: its name in the folder.
        examples: how many it holds.
        size_bytes: of the file.
    """

    file: str
    examples: int
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class PackedSplit:
    """What `dataset.json` says of a split.

    Attributes:
        info: of the data set, as of this split.
        shards: in the order of their examples.
    """

    info: DatasetInfo
    shards: tuple[Shard, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return dict(
            info=dataclasses.asdict(self.info),
            shards=[dataclasses.asdict(shard) for shard in self.shards],
        )


@dataclasses.dataclass(frozen=True)
class RecordFolder:
    """What `dataset.json` says.

    Attributes:
        splits: by name.
        packed_from: keys of `config.data` and what they were when the data was packed.
    """

    splits: dict[str, PackedSplit]
    packed_from: dict[str, Any]


def read_record_folder(folder: epath.Path, *, name: str) -> RecordFolder:
    """Returns what packed data says of itself.

    Args:
        folder: that holds `dataset.json`.
        name: of the data, for messages.

    Raises:
        UserError: there is none, it is damaged, or packing has not come to its end.
    """
    path = folder / FINISHED
    if not path.exists():
        begun = (folder / BEGUN).exists()
        raise UserError(
            f"data {name!r}: there is no {path}. "
            + (
                "Packing has not come to its end: the same command goes on with it."
                if begun
                else "Expected a folder that --mode=pack has written."
            )
        )
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"the format is {content['format']!r}, not {FORMAT!r}")
        splits = {split: _split(of) for split, of in content["splits"].items()}
        return RecordFolder(splits, dict(content["packed_from"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not what --mode=pack writes ({error!r}). Restore it from a copy, "
            f"or pack again."
        ) from error


def _split(content: dict[str, Any]) -> PackedSplit:
    facts = dict(content["info"])
    facts |= {key: tuple(facts[key]) for key in _TUPLES}
    facts["factors"] = {key: tuple(value) for key, value in facts["factors"].items()}
    if facts["largest_hw"] is not None:
        facts["largest_hw"] = tuple(facts["largest_hw"])
    shards = tuple(
        Shard(str(s["file"]), int(s["examples"]), int(s["size_bytes"]))
        for s in content["shards"]
    )
    return PackedSplit(DatasetInfo(**facts), shards)
