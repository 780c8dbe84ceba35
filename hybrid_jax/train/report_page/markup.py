"""HTML made of elements, in which every text is escaped unless it is markup already."""

import html
import json
from typing import Any, NamedTuple

_WITHOUT_CONTENT = ("circle", "img", "input", "line", "meta", "polyline", "rect", "wbr")


class Html(str):
    """Text that is markup already."""


def element(name: str, /, *children: Any, **attributes: Any) -> Html:
    """Returns an element; children that are no `Html` are text.

    Args:
        name: of the element.
        children: in order; None is left out.
        attributes: `class_` is `class`, other underscores are hyphens; True is an attribute
            without a value, None and False are none.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{html.escape(str(value))}"')
    if name in _WITHOUT_CONTENT:
        return Html(f"<{' '.join(words)}/>")
    return joined(Html(f"<{' '.join(words)}>"), *children, Html(f"</{name}>"))


def joined(*parts: Any) -> Html:
    """Returns the parts one after another, those escaped that are no `Html`."""
    return Html("".join(escaped(part) for part in parts if part is not None))


def escaped(text: Any) -> Html:
    """Returns a text as markup that shows it."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def data_script(value: Any) -> Html:
    """Returns plain values for the page's script; no text in them can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json">{text}</script>')


def table(
    head: list[Any], rows: list[list[Any]], *, kind: str = "", label: str = ""
) -> Html:
    """Returns a table in a box that scrolls sideways; its first column names the rows.

    Args:
        head: of the columns.
        rows: of cells; a cell that is no `td` or `th` yet is made one.
        kind: class of the table; "sortable" has buttons in its head.
        label: what a screen reader calls it.
    """
    is_sortable = "sortable" in kind
    heads = [
        element(
            "th",
            element("button", text, type="button") if is_sortable else text,
            scope="col",
        )
        for text in head
    ]
    body = [
        element("tr", *(_cell(cell, is_first=n == 0) for n, cell in enumerate(row)))
        for row in rows
    ]
    made = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *body),
        class_=kind or None,
    )
    return element(
        "div", made, class_="scroll", tabindex="0", role="region", aria_label=label or None
    )


def _cell(cell: Any, *, is_first: bool) -> Html:
    if isinstance(cell, Html) and cell.startswith(("<td", "<th")):
        return cell
    if is_first:
        return element("th", cell, scope="row")
    return element("td", cell)


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        title: its heading.
        content: markup; a section without any is left out.
    """

    title: str
    content: Html

    @property
    def anchor(self) -> str:
        """The name by which links find it."""
        return self.title.lower()


def section(title: str, *children: Html | None) -> Section:
    """Returns a part of a page of several pieces."""
    return Section(title, joined(*children))
