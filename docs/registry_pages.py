"""Fusions and heads, a section each: the docstring of the module, and the options.

`site_pages.py` puts them into `fusions.md` and `heads.md`.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable

from hybrid_jax.registry import Registry

# Given by the library and not by the user.
_GIVEN = {
    *("self", "resnet_spec", "vit_spec", "image_size", "rngs"),
    *("channels", "width", "num_classes", "dtype"),
}


def sections(registry: Registry, *, drawing: Callable[[str], str] | None = None) -> str:
    """Returns Markdown: one section for each entry, in alphabetical order.

    Args:
        drawing: returns the SVG of an entry by its name; None for no drawings.
    """
    return "\n".join(_lines(registry, drawing))


def _lines(registry: Registry, drawing: Callable[[str], str] | None) -> Iterable[str]:
    for name in registry.names():
        entry = registry.get(name)
        first, _, rest = inspect.getdoc(sys.modules[entry.__module__]).partition("\n")
        yield f"## {name}\n"
        yield f"**{_summary(first, name)}**\n"
        facts = _facts(entry)
        if facts:
            yield f"{facts}\n"
        if drawing is not None:
            yield f'<div class="wiring">\n{drawing(name)}</div>\n'
        if rest.strip():
            yield rest.strip("\n") + "\n"  # what is indented stays so: it is a formula
        yield from _options(entry)


def _summary(first: str, name: str) -> str:
    """Returns the first line of a docstring without the name that it begins with."""
    text = re.sub(rf"^`{name}`: ", "", first.strip())
    return text[0].upper() + text[1:]


def _facts(entry: type) -> str:
    """Returns one line with what the class says about itself."""
    if hasattr(entry, "task"):
        strides = ", ".join(map(str, entry.strides))
        return f"Task: {entry.task}." + (f" Maps at strides {strides}." if strides else "")
    return f"Starts as: {entry.starts_as}." if getattr(entry, "starts_as", None) else ""


def _options(entry: type) -> Iterable[str]:
    """Yields a table of the constructor's own arguments."""
    parameters = inspect.signature(entry.__init__).parameters
    options = [p for name, p in parameters.items() if name not in _GIVEN]
    if not options:
        yield "It has no options.\n"
        return
    meanings = _arguments(inspect.getdoc(entry) or "")
    yield '<div class="options" markdown>\n\n| option | default | meaning |\n|---|---|---|'
    for option in options:
        meaning = meanings.get(option.name, "").replace("|", "\\|")
        yield f"| `{option.name}` | `{_literal(option.default)}` | {meaning} |"
    yield "\n</div>\n"


def _literal(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _arguments(docstring: str) -> dict[str, str]:
    """Returns name -> text of the "Args:" of a docstring."""
    _, _, listed = docstring.partition("Args:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in listed.splitlines():
        if start := re.match(r"    ([\w, ]+): (.*)", line):
            name = start[1]
            texts[name] = start[2]
        elif line.startswith("        "):
            texts[name] += f" {line.strip()}"
        elif line.strip():
            break  # the next section
    return {
        one.strip(): text[0].upper() + text[1:]
        for names, text in texts.items()
        for one in names.split(",")
    }
