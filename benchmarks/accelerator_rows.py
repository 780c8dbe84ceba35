"""Figures as they come: each printed at once and kept in a file, and a table at the end."""

import json
import pathlib
import time
from typing import Any

_STARTED = time.perf_counter()


def seconds_since_start() -> float:
    """Returns how long this process has been at work."""
    return time.perf_counter() - _STARTED


class Rows:
    """Rows of figures; a run that is cut short has lost none.

    Args:
        path: of a JSON file that always holds all rows so far.
    """

    def __init__(self, path: pathlib.Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._rows: list[dict[str, Any]] = []

    def add(self, **row: Any) -> None:
        """Prints a row and writes the file anew."""
        self._rows.append(row)
        line = dict(at_s=round(seconds_since_start(), 1), **row)
        print(json.dumps(line), flush=True)
        self._path.write_text(json.dumps(self._rows, indent=1) + "\n")

    def failed(self, what: object, error: Exception) -> None:
        """Adds a row for something that raised."""
        text = f"{type(error).__name__}: {str(error)[:300]}"
        self.add(case=str(what), failed=text)

    def print_table(self, *columns: str) -> None:
        """Prints, in Markdown, the rows that have the last column."""
        print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for row in self._rows:
            if columns[-1] in row:
                cells = ("" if row[name] is None else str(row[name]) for name in columns)
                print(f"| {' | '.join(cells)} |")
