"""Which tables, or which rows of one, are a split."""

import pathlib

from hybrid_jax.data.formats.csv.table import CsvTable, read_csv_table
from hybrid_jax.data.formats.image_files import is_left_out
from hybrid_jax.data.formats.paired_folders import PairedFolders
from hybrid_jax.data.formats.splits import USUAL_NAMES, split_called
from hybrid_jax.errors import UserError

WHOLE = ""
"""The key of rows that no split is said of."""


def csv_splits(location: str, *, split: str) -> dict[str, CsvTable]:
    """Returns the rows of each split that has some, or `WHOLE` -> all rows.

    Args:
        location: a file; a folder with one file, or with one for each split; or a path with
            `{split}`.
        split: that is wanted besides train, validation and test.

    Raises:
        UserError: there is no such file, several that are no splits, splits without one
            for training, or a table that cannot be read (see `read_csv_table`).
    """
    files = _files(location, split=split)
    tables = {}
    for of, path in files.items():
        try:
            tables[of] = read_csv_table(path)
        except UserError:
            # Tables for tests often have no labels; who asks for such a split is told.
            if of in (WHOLE, "train", "validation", split):
                raise
    if WHOLE in tables:
        tables = _by_column(tables[WHOLE])
    for of, table in tables.items():
        said = {split_called(word) or word for word in table.splits or ()} - {of}
        if of != WHOLE and said:
            raise UserError(
                f"{table.path}: expected no column for splits in a file that is the {of} "
                f"split, got {min(said)!r}. Remove the column, or make all files one."
            )
    if WHOLE not in tables and "train" not in tables:
        raise UserError(
            f"data 'csv:{location}': the splits are {', '.join(sorted(tables))}; expected "
            f"one called train or training."
        )
    return tables


def _files(location: str, *, split: str) -> dict[str, pathlib.Path]:
    """Returns split -> file, or `WHOLE` -> file."""
    name, path = f"csv:{location}", pathlib.Path(location).expanduser()
    if "{split}" in location:
        places = PairedFolders(name, location, location)
        wanted = [of for of in USUAL_NAMES if places.there(of)]
        if split not in USUAL_NAMES or not wanted:
            wanted.append(split)
        return {of: places.of(of)[0] for of in wanted}
    if path.is_file():
        beside = _by_split(path.parent, name=name)
        if split_called(path.stem) and len(beside) > 1:
            raise UserError(
                f"data {name!r}: {path.name} is called like a split, and so is "
                f"{next(p for p in beside.values() if p != path)}. Write csv:{path.parent} "
                f"for the splits of these files."
            )
        return {WHOLE: path}
    if not path.is_dir():
        raise UserError(
            f"data {name!r}: there is no file or folder {path}. Expected a table with the "
            f"header image,label or image,label,x1,y1,x2,y2, or a folder with train.csv."
        )
    if by_split := _by_split(path, name=name):
        return by_split
    found = _tables_in(path)
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:5]) or "none"
        raise UserError(
            f"data {name!r}: expected train.csv or a single .csv file in {path}, found "
            f"{names}. Write csv: and the path of the file."
        )
    return {WHOLE: found[0]}


def _tables_in(folder: pathlib.Path) -> list[pathlib.Path]:
    found = (p for p in folder.iterdir() if p.suffix.lower() == ".csv")
    return sorted(p for p in found if p.is_file() and not is_left_out(p.name))


def _by_split(folder: pathlib.Path, *, name: str) -> dict[str, pathlib.Path]:
    found: dict[str, pathlib.Path] = {}
    for path in _tables_in(folder):
        of = split_called(path.stem)
        if of in found:
            raise UserError(
                f"data {name!r}: {found[of]} and {path} both are the {of} split. Rename "
                f"or remove one of them."
            )
        if of:
            found[of] = path
    return found


def _by_column(table: CsvTable) -> dict[str, CsvTable]:
    if table.splits is None:
        return {WHOLE: table}
    rows: dict[str, list[int]] = {}
    for row, word in enumerate(table.splits):
        if not word:
            raise UserError(
                f"{table.path}, line {table.lines[row]}: expected the name of a split, got "
                f"none. Fill the column or remove it."
            )
        rows.setdefault(split_called(word) or word, []).append(row)
    return {of: table.of_rows(chosen) for of, chosen in rows.items()}
