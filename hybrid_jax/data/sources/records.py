"""`records:PATH`: what `--mode=pack` wrote, ArrayRecord shards with random access."""

import dataclasses
import functools
import os

from etils import epath

from hybrid_jax.contracts import Example
from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.formats.example_record import from_record
from hybrid_jax.data.formats.record_folder import read_record_folder
from hybrid_jax.data.load_once import LoadOnce
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError


@SOURCES.register("records")
def open_records(location: str, *, split: str) -> "RecordsSource":
    """Opens the packed data in the folder `location`."""
    check_location("records", location=location, example="/data/birds_packed")
    return RecordsSource(location, split=split)


@dataclasses.dataclass
class _Instruction:
    """All records of a file, so that nothing has to count them."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class RecordsSource:
    """Examples as another source gave them when they were packed.

    Args:
        location: the folder.
        split: one that was packed.

    Raises:
        UserError: the folder holds no packed data, lacks the split or one of its files, or
            a file has another size than when it was written.

    Attributes:
        packed_from: keys of `config.data` that its annotations were packed with.
    """

    def __init__(self, location: str, *, split: str):
        self._name, self._split = f"records:{location}", split
        folder = epath.Path(location).expanduser()
        try:
            content = read_record_folder(folder, name=self._name)
        except ImportError as error:  # of what reads this kind of bucket
            raise UserError(
                f"data {self._name!r}: {error}, or copy the folder to this machine."
            ) from error
        check_split(self._name, split=split, splits=sorted(content.splits))
        packed = content.splits[split]
        for shard in packed.shards:
            path = folder / shard.file
            found = path.stat().length if path.exists() else None
            if found != shard.size_bytes:
                raise UserError(
                    f"data {self._name!r}: {path} should have {shard.size_bytes} bytes, "
                    f"{'it is not there' if found is None else f'it has {found}'}. Copy it "
                    f"again."
                )
        self.info = packed.info
        self.packed_from = content.packed_from
        self._length = sum(shard.examples for shard in packed.shards)
        instructions = tuple(
            _Instruction(os.fspath(folder / s.file), 0, s.examples, s.examples)
            for s in packed.shards
        )
        self._records = LoadOnce(functools.partial(_opened, instructions))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        """Decodes one example.

        Raises:
            BadImageError: the record or its image cannot be read.
        """
        return self._read(index, with_image=True)

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        return self._read(index, with_image=False)

    def _read(self, index: int, *, with_image: bool) -> Example:
        records = self._records.get()
        try:
            return from_record(records[index], with_image=with_image)
        except BadAnnotationError:
            raise
        except Exception as error:  # of four libraries, for bytes that are damaged
            raise BadImageError(
                f"data {self._name!r}, example {index} of {self._split}: it cannot be "
                f"read: {error}. Copy the files again, or pass over it with "
                f"--config.data.on_bad_image=skip."
            ) from error


def _opened(instructions: tuple[_Instruction, ...]):
    # The import takes long, and other data sets need not wait for it.
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource(instructions)
