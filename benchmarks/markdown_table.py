"""Generated tables: their cells, and their place between two marks of a Markdown file."""

import pathlib
import re


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_table(path: pathlib.Path, name: str, text: str) -> None:
    """Replaces what stands between `<!-- name -->` and `<!-- end of name -->`.

    Raises:
        SystemExit: the marks are not in the file.
    """
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    old = path.read_text()
    pattern = re.compile(f"{re.escape(first)}.*?{re.escape(last)}", re.DOTALL)
    if not pattern.search(old):
        raise SystemExit(f"{path} has no {first} ... {last} to write between.")
    path.write_text(pattern.sub(lambda _: f"{first}\n\n{text}\n\n{last}", old))
