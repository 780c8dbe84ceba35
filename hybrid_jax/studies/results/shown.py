"""The plan and the result of a study as they are printed: drawn tables on a terminal."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid_jax.studies.planning.plan_table import plan_notes, plan_rows
from hybrid_jax.studies.planning.probe import StepTimes
from hybrid_jax.studies.planning.readiness import Lengths
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.results.table import result_tables, study_table
from hybrid_jax.studies.results.table_notes import result_notes
from hybrid_jax.studies.settings import Study

Rows = Sequence[Sequence[str]]
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_NUMBER = re.compile(r"[-+±\d.,%\[\]* ]*(\(no interval\))?")


def show_plan(
    study: Study,
    sizes: Mapping[str, Sequence[Size]],
    lengths: Lengths | None,
    *,
    times: StepTimes | None,
    fault: str,
) -> None:
    """Prints the plan to stdout: aligned text unless that is a terminal."""
    rows = plan_rows(study, sizes, lengths)
    notes = "\n".join(plan_notes(study, sizes, lengths, times=times, fault=fault))
    if sys.stdout.isatty():
        draw([rows], notes)
    else:
        print(f"{aligned(rows)}\n{notes}", flush=True)


def show_result(found: Mapping[str, Any]) -> None:
    """Prints what `study.md` holds to stdout: as Markdown unless that is a terminal."""
    if sys.stdout.isatty():
        draw(result_tables(found), "\n".join(result_notes(found)))
    else:
        print(f"\n{study_table(found)}", end="", flush=True)


def draw(tables: Sequence[Rows], notes: str, *, console: Console | None = None) -> None:
    """Draws tables and the text below them; what is bold in Markdown is bold.

    Args:
        tables: each a header and rows, of Markdown cells.
        notes: Markdown.
        console: where to; None for stdout.
    """
    console = console or Console(file=sys.stdout)
    for header, *rows in tables:
        table = Table()
        for column, name in enumerate(header):
            numbers = all(_NUMBER.fullmatch(row[column]) for row in rows)
            table.add_column(_styled(name), justify="right" if numbers else "left")
        for row in rows:
            table.add_row(*map(_styled, row))
        console.print(table)
    console.print(_styled(notes))


def aligned(rows: Rows) -> str:
    """Returns rows as lines of text: the first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{cell:>{n}}" for cell, n in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:{widths[0]}}", *cells]))
    return "\n".join(lines)


def _styled(markdown: str) -> Text:
    """Returns a text without backticks in which `**words**` are bold."""
    text = Text()
    for number, part in enumerate(_BOLD.split(markdown.replace("`", ""))):
        text.append(part, style="bold" if number % 2 else "")
    return text
