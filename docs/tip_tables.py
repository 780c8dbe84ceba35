"""Writes the tables of `tips.md` from the results of studies in `docs/results/`.

python docs/tip_tables.py

A table is between `<!-- table KIND FILE -->` and `<!-- end of table -->`. KIND is one of
`KINDS`, and FILE is the path of a `study.json` in `docs/results/` without its ending.
"""

import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

DOCS = pathlib.Path(__file__).parent
RESULTS = DOCS / "results"
_TABLE = re.compile(r"(<!-- table (\w+) (\S+) -->\n).*?(<!-- end of table -->)", re.S)
_SHARE = "data.train_fraction"

Study = Mapping[str, Any]


def scores(study: Study) -> list[list[str]]:
    """Returns rows: every variant, the best first, with its test score and difference."""
    split, baseline = study["test_split"], study["baseline"]
    head = ["variant", *_keys(study), "M params", "images/s", f"{split} {_score(study)}"]
    rows = [[*head, f"less `{baseline}`"]]
    for name in _by_mean(study):
        variant = study["variants"][name]
        numbers = [_number(variant["setting"][key]) for key in study_keys(study)]
        rows.append(
            [
                f"`{name}`",
                *numbers,
                f"{variant['params'] / 1e6:.3f}",
                f"{variant['time']['images_per_second']:.0f}",
                _spread(variant),
                _difference(variant, study),
            ]
        )
    return rows


def trials(study: Study) -> list[list[str]]:
    """Returns rows: the validation score of every variant at every rate that was tried."""
    (key,) = study_keys(study)
    found: dict[tuple[str, float], str] = {}
    for run in study["runs"]:
        if run["trial"]:
            value = run["validation"].get("score")
            shown = run["validation"]["status"] if value is None else f"{value:.3f}"
            found[run["variant"], run["setting"][key]] = shown
    values = sorted({value for _, value in found})
    rows = [["variant", *map(_number, values)]]
    for name in _by_mean(study):
        rows.append([f"`{name}`", *(found.get((name, value), "") for value in values)])
    return rows


def amounts(study: Study) -> list[list[str]]:
    """Returns rows: the test score of every fusion on every share of the training data."""
    cells, shares = {}, set()
    for variant in study["variants"].values():
        fusion = variant["changes"]["model.fusion"]
        share = variant["changes"][_SHARE]
        shares.add(share)
        cells[fusion, share] = _marked(variant, study)
    columns = sorted(shares)
    rows = [["fusion", *(f"{100 * share:g} %" for share in columns)]]
    for fusion in dict.fromkeys(fusion for fusion, _ in cells):
        rows.append([f"`{fusion}`", *(cells[fusion, share] for share in columns)])
    return rows


def evaluations(study: Study) -> list[list[str]]:
    """Returns rows: the further scores of every variant, bold where they differ."""
    names = list(study["evaluations"])
    rows = [["variant", "test", *names]]
    for name in _by_mean(study):
        variant = study["variants"][name]
        cells = [_marked(variant["evaluations"][key], study) for key in names]
        rows.append([f"`{name}`", _spread(variant), *cells])
    return rows


def views(study: Study) -> list[list[str]]:
    """Returns rows: where the final runs look; empty where a variant has no such view."""
    found = {
        name: variant["localization"]["scores"]
        for name, variant in study["variants"].items()
    }
    kinds = sorted({kind for scores in found.values() for kind in scores}, key=_view_order)
    rows = [["variant", *(kind.replace("_", " ") for kind in kinds)]]
    for name in _by_mean(study):
        own = found[name]
        cells = (_marked(own[k], study) if k in own else "" for k in kinds)
        rows.append([f"`{name}`", *cells])
    return rows


KINDS = {
    "scores": scores,
    "trials": trials,
    "amounts": amounts,
    "evaluations": evaluations,
    "views": views,
}


def study_keys(study: Study) -> list[str]:
    """Returns the keys that were tuned."""
    return list(next(iter(study["variants"].values()))["setting"])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table of Markdown; all columns but the first hold numbers."""
    head, *body = rows
    rule = "|---|" + "---:|" * (len(head) - 1)
    lines = [f"| {' | '.join(row)} |" for row in (head, *body)]
    return "\n".join([lines[0], rule, *lines[1:]])


def page(text: str) -> str:
    """Returns a page with all its tables made again."""

    def made(match: re.Match) -> str:
        begin, kind, file, end = match.groups()
        study = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))
        return f"{begin}\n{markdown(KINDS[kind](study))}\n\n{end}"

    return _TABLE.sub(made, text)


def _by_mean(study: Study) -> list[str]:
    variants = study["variants"]
    means = {name: variants[name]["mean"] for name in variants}
    return sorted(variants, key=lambda name: -(means[name] or 0.0))


def _keys(study: Study) -> list[str]:
    return [key.rpartition(".")[2].replace("learning_", "") for key in study_keys(study)]


def _score(study: Study) -> str:
    return {"top1": "top-1"}.get(study["score"], study["score"])


def _number(value: float) -> str:
    if isinstance(value, float) and 0 < value < 0.1:
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    return f"{value:g}"


def _spread(found: Mapping[str, Any]) -> str:
    if found["mean"] is None:  # no run of it has finished
        return "–"
    deviation = found["deviation"]
    shown = f"{found['mean']:.3f}"
    return shown if deviation is None else f"{shown} ± {deviation:.3f}"


def _marked(found: Mapping[str, Any], study: Study) -> str:
    return f"**{_spread(found)}**" if _is_bold(found, study) else _spread(found)


def _is_bold(found: Mapping[str, Any], study: Study) -> bool:
    """Returns whether the interval excludes 0 and every seed has finished, as a study's."""
    difference = found.get("difference")
    whole = bool(difference) and difference["pairs"] == len(study["seeds"])
    return whole and difference["excludes_zero"]


def _view_order(kind: str) -> tuple[str, int]:
    measure, _, view = kind.partition("_")
    return measure, ("resnet", "transformer", "fused").index(view)


def _difference(variant: Mapping[str, Any], study: Study) -> str:
    found = variant.get("difference")
    if not found or found["low"] is None:
        return ""
    text = f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
    return f"**{text}**" if _is_bold(variant, study) else text


def main() -> None:
    """Writes the tables of the page."""
    path = DOCS / "tips.md"
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
