"""The tables of scores under changes, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.robustness.corruptions import CORRUPTIONS


def table(found: Mapping[str, Any]) -> str:
    """Returns the report of `robustness.json` as text, a table for each suite.

    Args:
        found: `summary` with what the run was, and `baselines`.
    """
    score = found["score"]
    lines = [
        f"{score} on {found['split']} ({found['count']} examples) of {found['data']}, step "
        f"{found['step']}; unchanged images: {_shown(found['clean'][score])}"
        + (f", ECE {_shown(found['clean']['ece'])}." if _calibrated(found) else "."),
        "",
    ]
    for name, suite in found["suites"].items():
        lines += [f"## {name}: {suite['axis']}", "", *_rows(found, name), ""]
        if name == "corruptions":
            lines += [*_means(found), ""]
    return "\n".join(lines)


def _rows(found: Mapping[str, Any], name: str) -> list[str]:
    lines, score = found["suites"][name]["lines"], found["score"]
    strengths = sorted({x for line in lines.values() for x in line["strengths"]})
    corrupted = name == "corruptions"
    others = found["baselines"] if corrupted else []
    head = ["", *(["reference"] * corrupted), *(f"{x:g}" for x in strengths), "mean"]
    head += ["mean ECE"] * _calibrated(found)
    head += [f"CE / {other['workdir']}" for other in others]
    rows = [head]
    for line, entry in lines.items():
        by_strength = dict(zip(entry["strengths"], entry["scores"], strict=True))
        values = [by_strength.get(x, {}).get(score) for x in strengths] + [entry["mean"]]
        if _calibrated(found):
            errors = [scores["ece"] for scores in entry["scores"]]
            values.append(sum(errors) / len(errors))
        values += [other["ce"][line] for other in others]
        kind = [CORRUPTIONS[line].likeness] if corrupted else []
        rows.append([line, *kind, *map(_shown, values)])
    return _aligned(rows)


def _means(found: Mapping[str, Any]) -> list[str]:
    side = found["levels_px"]
    return [
        f"- severities as for images of {side} px",
        f"- mean over the standard corruptions measured: {_shown(found['mean_corrupted'])}",
        f"- that mean as a share of the clean score: {_shown(found['retained'])}",
        *(
            f"- mCE relative to {other['workdir']}: {_shown(other['mCE'])}"
            for other in found["baselines"]
        ),
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns rows of cells as lines of a table; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows = [rows[0], ["-" * max(width, 3) for width in widths], *rows[1:]]
    return ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]


def _calibrated(found: Mapping[str, Any]) -> bool:
    return "ece" in found["clean"]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
