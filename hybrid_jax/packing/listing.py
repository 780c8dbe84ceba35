"""What files data was packed from, so that changed data is not taken for the same."""

import hashlib
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from hybrid_jax.contracts import Source
from hybrid_jax.data.formats.image_files import sorted_files

# Their content may change and their size not: boxes, lists, classes.
_TEXTS = (".json", ".jsonl", ".xml", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".names")


def listing_of(
    name: str, sources: Iterable[Source], *, output: str | os.PathLike
) -> dict[str, Any] | None:
    """Returns how many files the data has, their size, and a hash of names and sizes.

    Of annotations in texts the content is hashed too; no image is opened.

    Args:
        name: `data.name`.
        sources: its splits.
        output: whose files do not count, if it lies among the data.

    Returns:
        `files`, `bytes` and `hash`; None if the data has no files on this machine.
    """
    outside = pathlib.Path(output).expanduser().absolute()
    found = {path for path in _files_of(name, sources) if outside not in path.parents}
    if not found:
        return None
    state, size = hashlib.sha256(), 0
    for path in sorted(found):
        try:
            length = path.stat().st_size
            content = _hash(path) if path.suffix.lower() in _TEXTS else ""
        except OSError:  # a link to nowhere; whoever needs the file will say so
            continue
        size += length
        state.update(os.fsencode(f"{path}\0{length}\0{content}\n"))
    return dict(files=len(found), bytes=size, hash=state.hexdigest())


def _files_of(name: str, sources: Iterable[Source]) -> set[pathlib.Path]:
    found = set()
    for text in name.partition(":")[2].split(","):
        # What stands before a place to fill in, `{split}` or `*`.
        fixed = re.split(r"[{*]", text.strip())[0]
        path = pathlib.Path(fixed).expanduser().absolute()
        if fixed != text.strip() and not fixed.endswith("/"):
            path = path.parent
        if path.is_file():
            found.add(path)
        elif fixed and path.is_dir():
            found |= {path / below for part in sorted_files(path) for below in part}
    for source in sources:
        image_file = getattr(source, "image_file", None)
        files = map(image_file, range(len(source))) if image_file else ()
        found |= {file.absolute() for file in files if file is not None}
    return found


def _hash(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
