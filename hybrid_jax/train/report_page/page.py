"""`report.html` of one run."""

import pathlib
from collections.abc import Sequence

from etils import epath

from hybrid_jax.train.checkpoints.workdir import write_whole
from hybrid_jax.train.report_page.calibration_chart import calibration_chart
from hybrid_jax.train.report_page.case_cards import case_cards
from hybrid_jax.train.report_page.class_scores import (
    class_table,
    confused_table,
    confusion_table,
)
from hybrid_jax.train.report_page.config_table import config_table
from hybrid_jax.train.report_page.markup import Html, Section, element, joined, section
from hybrid_jax.train.report_page.run_curves import curves_of_run, precision_chart
from hybrid_jax.train.report_page.run_facts import (
    costs,
    data_summary,
    headline,
    reproduction,
)
from hybrid_jax.train.report_page.run_files import RunFiles, read_run
from hybrid_jax.train.report_page.run_names import breakable, is_long

PAGE_FILE = "report.html"
_HERE = pathlib.Path(__file__).parent
_RIGHT = dict(detection="share with an object")


def write_page(
    workdir: epath.Path,
    *,
    output: epath.Path | None = None,
    notes: Sequence[str] = (),
) -> epath.Path:
    """Writes the page of a run from the files in its workdir.

    Args:
        workdir: of the run, finished or not.
        output: the file; `report.html` in the workdir if None.
        notes: sentences that the page has at its top.

    Returns:
        The file.

    Raises:
        UserError: there is no run.
    """
    run = read_run(workdir)
    output = output or workdir / PAGE_FILE
    write_whole(output, page_of_run(run, notes=notes))
    return output


def page_of_run(run: RunFiles, *, notes: Sequence[str] = ()) -> str:
    """Returns the page of a run."""
    model = " + ".join(
        str(run.settings[key])
        for key in ("model.resnet", "model.vit")
        if run.settings.get(key) is not None
    )
    words = f"{run.settings.get('model.fusion', '')} ({model}), {run.task} of "
    sections = [
        section("Result", _notes(notes), headline(run)),
        section("Reproduce", reproduction(run)),
        section("Curves", curves_of_run(run)),
        *_evaluated(run),
        section("Data", data_summary(run)),
        section("Cost", costs(run)),
        section("Configuration", config_table(run.settings)),
    ]
    return document(run.name, f"{words}{run.settings.get('data.name', '')}", sections)


def document(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Returns a whole page with its styles and its script inside.

    Args:
        title: of the page.
        subtitle: below it.
        sections: with a heading each; empty ones are left out.
    """
    sections = [each for each in sections if each.content]
    links = [element("a", each.title, href=f"#{each.anchor}") for each in sections]
    parts = [
        element("section", element("h2", each.title), each.content, id=each.anchor)
        for each in sections
    ]
    style, script = ((_HERE / name).read_text() for name in ("page.css", "page.js"))
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} – hybrid_jax"),
        element("style", Html(style)),
    ]
    size = "long" if is_long(title) else None
    heading = element("h1", breakable(title), class_=size)
    top = element("header", heading, element("p", breakable(subtitle)))
    links_bar = element("nav", *links, aria_label="Parts of the page")
    body = [top, links_bar, element("main", *parts), element("script", Html(script))]
    page = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!doctype html>\n{page}\n"


def _evaluated(run: RunFiles) -> list[Section]:
    """Returns what the evaluation at the end of the run has found."""
    found = run.findings
    where = element("p", f"{found.get('split', '')}, step {found.get('step', '')}")
    sections = []
    if "table" in found:
        sections.append(section("Classes", where, class_table(found["table"])))
    mistakes = _mistakes(run)
    if mistakes:
        sections.append(section("Mistakes", where, mistakes))
    cards = joined(
        case_cards("Worst", found.get("worst", []), task=run.task),
        case_cards("Best", found.get("best", []), task=run.task),
    )
    if cards:
        sections.append(section("Predictions", where, cards))
    return sections


def _mistakes(run: RunFiles) -> Html:
    """Returns confusions, precision by recall, and calibration, as far as known."""
    found = run.findings
    unit = found.get("confusion", {}).get("unit", "count")
    right = _RIGHT.get(run.task, "share right")
    charts = joined(
        precision_chart(found.get("curves", [])),
        calibration_chart(found.get("calibration", []), right=right),
        confused_table(found.get("confused", []), unit=unit),
    )
    return joined(
        confusion_table(found["confusion"]) if "confusion" in found else None,
        element("div", charts, class_="charts") if charts else None,
    )


def _notes(notes: Sequence[str]) -> Html:
    return joined(*(element("p", note, class_="note") for note in notes))
