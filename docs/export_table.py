"""Writes the table of what can be exported into `export.md`, from the test that tries it.

pytest -n 0 -s -m slow tests/exporting/test_every_pair_exports.py > log
python docs/export_table.py log
"""

import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).parent / "export.md"
_MARKS = ("<!-- exported pairs -->", "<!-- end of exported pairs -->")
_RESULT = re.compile(r"(\w+) (\w+) (any|one) (\d\.\de[+-]\d\d)$", re.M)


def table(log: str) -> str:
    """Returns Markdown: the largest difference of every pair that a log of the test has.

    A star marks programs that take images of one size only; a dash, pairs not in the log.
    """
    found = {(fusion, head): row for fusion, head, *row in _RESULT.findall(log)}
    fusions, heads = (sorted({pair[i] for pair in found}) for i in (0, 1))
    lines = [f"| fusion | {' | '.join(f'`{head}`' for head in heads)} |"]
    lines.append("|---" * (1 + len(heads)) + "|")
    for fusion in fusions:
        cells = [_cell(found.get((fusion, head))) for head in heads]
        lines.append(f"| `{fusion}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: list[str] | None) -> str:
    if row is None:
        return "–"
    sizes, difference = row
    value = float(difference)
    shown = f"{value:.1e}".replace("e-0", "e-") if value else "0"
    return f"{shown} *" if sizes == "one" else shown


def main(log: str) -> None:
    """Writes the table between its marks."""
    begin, end = _MARKS
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    made = table(pathlib.Path(log).read_text(encoding="utf-8"))
    PAGE.write_text(f"{before}{begin}\n\n{made}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
