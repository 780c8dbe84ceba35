"""One page of several runs side by side."""

from collections.abc import Sequence

from hybrid_jax.train.report_page.class_scores import score_cell
from hybrid_jax.train.report_page.config_table import config_differences
from hybrid_jax.train.report_page.markup import Html, element, section, table
from hybrid_jax.train.report_page.numbers import shown, shown_score
from hybrid_jax.train.report_page.page import document
from hybrid_jax.train.report_page.run_curves import curves_of_runs
from hybrid_jax.train.report_page.run_facts import cost_rows
from hybrid_jax.train.report_page.run_files import RunFiles
from hybrid_jax.train.report_page.run_names import short_names, whole_names


def page_of_runs(runs: Sequence[RunFiles], *, notes: Sequence[str] = ()) -> str:
    """Returns the page that compares runs.

    Args:
        runs: at least one, in the order of the columns.
        notes: sentences that the page has at its top.
    """
    whole = _names(runs)
    names = short_names(whole)
    sections = [
        section(
            "Result",
            *(element("p", note, class_="note") for note in notes),
            _results(runs, whole_names(whole)),
        ),
        section("Curves", curves_of_runs(runs, names)),
        section("Classes", _classes(runs, names)),
        section("Cost", _costs(runs, names)),
        section(
            "Configuration",
            config_differences([run.settings for run in runs], names),
        ),
    ]
    return document(f"{len(runs)} runs", ", ".join(whole), sections)


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """Returns the folders' names; those that occur twice with what is above them."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{run.workdir.parent.name}/{name}"
        for run, name in zip(runs, names, strict=True)
    ]


def _results(runs: Sequence[RunFiles], names: Sequence[Html]) -> Html:
    rows = []
    for run, name in zip(runs, names, strict=True):
        best = run.best()
        last = run.last_row(best[2]).get(run.main_score) if best else None
        steps = run.settings.get("train.steps")
        reached = max((row["step"] for row in run.rows), default=0)
        rows.append(
            [
                name,
                run.main_score,
                element(
                    "td",
                    shown_score(run.main_score, best[1]) if best else "–",
                    class_="main",
                ),
                shown(best[0]) if best else "–",
                shown_score(run.main_score, last),
                f"{reached} of {steps}",
            ]
        )
    head = ["run", "score", "best", "at step", "last", "steps"]
    return table(head, rows, kind="sortable runs", label="Results")


def _classes(runs: Sequence[RunFiles], names: Sequence[str]) -> Html:
    """Returns one score of each class, the runs side by side; nothing without any."""
    tables = [run.findings["table"] for run in runs if "table" in run.findings]
    if len(tables) < len(runs) or len({tuple(t["columns"]) for t in tables}) != 1:
        return Html("")
    column = tables[0]["columns"][2]
    by_class = [{row[0]: row[2] for row in t["rows"]} for t in tables]
    rows = []
    for name in dict.fromkeys(name for scores in by_class for name in scores):
        values = [scores.get(name) for scores in by_class]
        rows.append([name, *(score_cell(column, value) for value in values)])
    return table([f"{column} of", *names], rows, kind="sortable", label="Scores by class")


def _costs(runs: Sequence[RunFiles], names: Sequence[str]) -> Html:
    costs = [dict(cost_rows(run)) for run in runs]
    keys = dict.fromkeys(key for cost in costs for key in cost)
    rows = [[key, *(cost.get(key, "–") for cost in costs)] for key in keys]
    return table(["", *names], rows, label="Costs") if rows else Html("")
