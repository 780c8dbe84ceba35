"""A file of records, whole or not there."""

import concurrent.futures
import os
import pathlib
import tempfile
from collections.abc import Callable

from etils import epath

from hybrid_jax.data.formats.record_folder import Shard
from hybrid_jax.errors import UserError
from hybrid_jax.packing.packed_example import Packer

_AT_A_TIME = 128  # examples handed to the threads together; bounds what waits
# One record can be read without its neighbors; images are compressed already.
_OPTIONS = "group_size:1,uncompressed"


def write_shard(
    path: epath.Path,
    packer: Packer,
    *,
    start: int,
    stop: int,
    pool: concurrent.futures.Executor,
    wrote: Callable[[int], object],
) -> Shard:
    """Writes the examples `start` to `stop` and returns what became of them.

    A file on a bucket is written here first.

    Args:
        pool: whose threads read the examples.
        wrote: called with the number of examples that were done.

    Raises:
        BadImageError, BadAnnotationError: see `Packer.record`.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    local = "://" not in os.fspath(path)
    folder = pathlib.Path(path.parent) if local else pathlib.Path(tempfile.gettempdir())
    part = folder / f"{path.name}.{os.getpid()}.part"
    count = 0
    try:
        writer = ArrayRecordWriter(os.fspath(part), _OPTIONS)
        try:
            for first in range(start, stop, _AT_A_TIME):
                chosen = range(first, min(first + _AT_A_TIME, stop))
                for record in pool.map(packer.record, chosen):
                    if record is not None:
                        writer.write(record)
                        count += 1
                wrote(len(chosen))
        finally:
            writer.close()
        size = part.stat().st_size
        if local:
            part.replace(os.fspath(path))
        else:
            epath.Path(part).copy(path, overwrite=True)
    finally:
        part.unlink(missing_ok=True)
    return Shard(path.name, count, size)


def written_shard(path: epath.Path) -> Shard:
    """Returns what an earlier packing has written.

    Raises:
        UserError: it is damaged.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(os.fspath(path))
    try:
        count = reader.num_records()
        reader.close()
    except RuntimeError as error:
        raise UserError(
            f"{path}, of an earlier packing, is damaged: {error}. Remove it, and the same "
            f"command packs it again."
        ) from error
    return Shard(path.name, count, path.stat().length)
