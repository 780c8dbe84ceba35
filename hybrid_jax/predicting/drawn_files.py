"""Names of the files that predictions are drawn to, and of those an earlier call made."""

import json
import pathlib
from collections.abc import Sequence

MADE_FILES = frozenset(("drawn", "segmentation"))
"""Keys of an answer in `predictions.json` that name files made for its image."""


def file_names(images: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns two files for each image, the drawing and the classes; no name twice."""
    taken: set[str] = set()

    def new(name: str, ending: str) -> str:
        stem = str(pathlib.PurePath(name).with_suffix(""))
        number, found = 1, f"{stem}{ending}.png"
        while found.lower() in taken:  # some file systems do not tell A from a
            number += 1
            found = f"{stem}_{number}{ending}.png"
        taken.add(found.lower())
        return found

    return [new(name, "") for name in images], [new(name, "_classes") for name in images]


def earlier_files(folder: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Returns (image, file made of it) as the `predictions.json` of a folder lists them.

    Only files below the folder that are still there; none if it is not our JSON.
    """
    root = folder.resolve()
    try:
        images = json.loads((root / "predictions.json").read_text())["images"]
        listed = [
            (row["image"], row[kind]) for row in images for kind in MADE_FILES & row.keys()
        ]
        found = [(pathlib.Path(i).resolve(), (root / name).resolve()) for i, name in listed]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
    return [
        (image, path)
        for image, path in found
        if path.suffix == ".png" and root in path.parents and path.is_file()
    ]
