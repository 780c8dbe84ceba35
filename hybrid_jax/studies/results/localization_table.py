"""The tables of where the variants of a study look."""

from collections.abc import Callable, Mapping
from typing import Any

from hybrid_jax.studies.results.localization import NAMES, VIEWS


def localization_tables(
    found: Mapping[str, Any],
    *,
    with_deviation: Callable[[Mapping[str, Any]], str],
    difference: Callable[[Mapping[str, Any]], str],
) -> list[list[list[str]]]:
    """Returns the scores of the views, and the differences, each a header and rows.

    A cell is empty where a variant has no such view, and where it is compared with itself.

    Args:
        found: of `report`.
        with_deviation: writes the mean of a score.
        difference: writes its difference.
    """
    names = [
        name
        for name in NAMES
        if any(name in of["localization"]["scores"] for of in found["variants"].values())
    ]
    scores = [["variant", *names, "uniform map"]]
    less: dict[str, list[str]] = {name: [] for name in names}
    for variant, row in found["variants"].items():
        views = row["localization"]
        own = {name: views["scores"].get(name) for name in names}
        uniform = "" if views["uniform"] is None else f"{views['uniform']:.4f}"
        cells = ["" if one is None else with_deviation(one) for one in own.values()]
        scores.append([f"`{variant}`", *cells, uniform])
        for name, one in own.items():
            if one is None or one["baseline"] == variant:
                less[name].append("")
            else:
                less[name].append(difference(one))
    # A view that one variant alone has is compared with nothing.
    compared = {name: column for name, column in less.items() if any(column)}
    columns = [
        ["variant", *(f"`{variant}`" for variant in found["variants"])],
        *([f"{n} less {_baseline(n, found)}", *cells] for n, cells in compared.items()),
    ]
    differences = [list(row) for row in zip(*columns, strict=True)]
    return [scores, differences] if compared else [scores]


def localization_note(found: Mapping[str, Any]) -> str:
    """Returns a line that says what the scores of views are."""
    kinds = {
        view: _by_kind(
            {
                name: row["localization"]["of"][view]
                for name, row in found["variants"].items()
                if view in row["localization"]["of"]
            }
        )
        for view in VIEWS
    }
    said = "; ".join(f"{view} is {kind}" for view, kind in kinds.items() if kind)
    return (
        f"Where the final runs look on `{found['test_split']}`, in {_examples(found)} "
        f"images with boxes: energy is the share of a view's sum that lies inside boxes, "
        f"pointing the share of images whose hottest pixel does; {said}. Each is compared "
        f"with the same view of another variant, not with another view: the rollout of a "
        f"model that has learned nothing is above a uniform map too."
    )


def _baseline(score: str, found: Mapping[str, Any]) -> str:
    rows = (row["localization"]["scores"] for row in found["variants"].values())
    names = {scores[score]["baseline"] for scores in rows if score in scores}
    return names.pop() if len(names) == 1 else "its baseline"


def _by_kind(kinds: Mapping[str, str]) -> str:
    """Returns what a view is; where it differs, of which variants."""
    of: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        of.setdefault(kind, []).append(f"`{name}`")
    if len(of) == 1:
        return next(iter(of))
    return ", ".join(f"{kind} ({', '.join(names)})" for kind, names in of.items())


def _examples(found: Mapping[str, Any]) -> str:
    rows = (run["evaluations"].get("localization", {}) for run in found["runs"])
    counts = sorted({row["examples"] for row in rows if "examples" in row})
    return " or ".join(f"{count:,}" for count in counts) or "no"
