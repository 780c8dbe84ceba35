"""The table of scores under corruptions, in Markdown."""

from collections.abc import Mapping
from typing import Any


def table(found: Mapping[str, Any]) -> str:
    """Returns the report of `robustness.json` as text.

    Args:
        found: `summary` with what the run was, and `baseline` if there is one.
    """
    score, severities = found["score"], found["severities"]
    versus = found.get("baseline")
    head = [
        "corruption",
        "reference",
        *map(str, severities),
        "mean",
        *(["CE"] * bool(versus)),
    ]
    rows = [head]
    for name, entry in found["corruptions"].items():
        values = [row[score] for row in entry["by_severity"]] + [entry["mean"]]
        cells = [name, entry["likeness"], *map(_shown, values)]
        rows.append(cells + ([_shown(versus["ce"][name])] if versus else []))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    rows.insert(1, ["-" * width for width in widths])
    lines = [
        f"{score} on {found['split']} ({found['count']} examples) of {found['data']}, step "
        f"{found['step']}; severities as for images of {found['levels_px']} px.",
        "",
        *("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows),
        "",
        f"- clean: {_shown(found['clean'][score])}",
        f"- mean over the standard corruptions measured: {_shown(found['mean_corrupted'])}",
        f"- that mean as a share of the clean score: {_shown(found['retained'])}",
    ]
    if versus:
        lines.append(f"- mCE relative to {versus['workdir']}: {_shown(versus['mCE'])}")
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
