"""The configuration reference: every key, its default and the comment it has in the code.

`site_pages.py` puts it into `configuration.md`; run by hand, it prints it.
"""

import ast
import dataclasses
import inspect
import io
import re
import tokenize

from ml_collections import ConfigDict

from hybrid_jax import specs
from hybrid_jax.config.keys import tree

# What a comment has in backticks, strings, places in angle brackets, and dotted names.
_CODE = re.compile(r'`[^`]+`|"[^"\s]*"|<[\w/]+>[\w/.]*|\b[a-z_]+(?:\.[a-z_\d]+)+(?:\(\))?')


@dataclasses.dataclass(frozen=True)
class Key:
    """One leaf of the tree.

    Attributes:
        path: dotted, without `config`.
        default: as Python writes it.
        comment: what it means, in one paragraph; "" if the code does not say.
    """

    path: str
    default: str
    comment: str


def keys_and_branches() -> tuple[list[Key], dict[str, str]]:
    """Returns every leaf of the default tree in order, and branch -> its comment."""
    comments = comments_by_path()
    place = {path: number for number, path in enumerate(comments)}
    keys, branches = [], {}

    def visit(node: ConfigDict, path: str) -> None:
        paths = {f"{path}.{name}" if path else name: name for name in node}
        for here in sorted(paths, key=lambda p: place.get(p, len(place))):
            value = node[paths[here]]
            if isinstance(value, ConfigDict) and len(value):
                branches[here] = comments.get(here, "")
                visit(value, here)
            else:
                keys.append(Key(here, _literal(value), comments.get(here, "")))

    visit(tree(), "")
    return keys, branches


def sections() -> str:
    """Returns Markdown: one section for a branch, one row of a table for a key."""
    keys, branches = keys_and_branches()
    top = [key for key in keys if "." not in key.path]
    lines = ["## Top level", "", *_table(top), ""]
    for branch, comment in branches.items():
        inside = [key for key in keys if key.path.rpartition(".")[0] == branch]
        level = "#" * (2 + branch.count("."))
        lines += [f"{level} `{branch}`", "", _sentence(comment), ""]
        if inside:
            lines += [*_table(inside), ""]
    return "\n".join(lines)


def _table(keys: list[Key]) -> list[str]:
    rows = [
        '<div class="options" markdown>',
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    for key in keys:
        name = key.path.rpartition(".")[2]
        cells = (f"`{name}`", f"`{key.default}`", _sentence(key.comment))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*rows, "", "</div>"]


def _literal(value: object) -> str:
    if isinstance(value, ConfigDict):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _sentence(text: str) -> str:
    """Returns a comment as a sentence, with what looks like code marked as code."""
    if not text:
        return ""
    marked = _CODE.sub(lambda found: f"`{found[0].strip('`')}`", text).replace(
        "**", "\\*\\*"
    )
    marked = marked if marked[0] == "`" else marked[0].upper() + marked[1:]
    return marked if marked[-1] in ".:" else f"{marked}."


def comments_by_path() -> dict[str, str]:
    """Returns path -> comment for every key in the source, in its order."""
    module = inspect.getmodule(tree)
    source = inspect.getsource(module)
    functions = {
        node.name: node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }
    notes = _notes_by_line(source)
    found: dict[str, str] = {}

    def visit(call: ast.Call, path: str) -> None:
        for keyword in call.keywords:
            here = f"{path}.{keyword.arg}" if path else keyword.arg
            found[here] = notes.get(keyword.lineno, "")
            value = keyword.value
            if not isinstance(value, ast.Call):
                continue
            called = ast.unparse(value.func)
            if called in ("dict", "ConfigDict"):
                visit(value, here)
            elif called == "_spec_options":
                spec = getattr(specs, ast.unparse(value.args[0]).rpartition(".")[2])
                found.update(
                    (f"{here}.{name}", text) for name, text in _attributes(spec).items()
                )
            elif called in functions:
                visit(_returned(functions[called]), here)

    visit(_returned(functions[tree.__name__]), "")
    return found


def _returned(function: ast.FunctionDef) -> ast.Call:
    """Returns the `dict(...)` that a function returns, out of a `ConfigDict(...)`."""
    call = function.body[-1].value
    return call if call.keywords else call.args[0]


def _notes_by_line(source: str) -> dict[int, str]:
    """Returns line -> the comment on it, or else the comment lines right before it."""
    behind, own_line = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            (own_line if alone else behind)[token.start[0]] = token.string.lstrip("# ")
    notes = dict(behind)
    for number, line in enumerate(source.splitlines(), start=1):
        if number in own_line or not line.strip():
            continue
        first = number
        while first - 1 in own_line:
            first -= 1
        before = " ".join(own_line[at] for at in range(first, number))
        if before:
            notes[number] = f"{before} {behind.get(number, '')}".strip()
    return notes


def _attributes(spec: type) -> dict[str, str]:
    """Returns field -> text of the "Attributes:" of a docstring."""
    _, _, listed = inspect.getdoc(spec).partition("Attributes:\n")
    texts: dict[str, str] = {}
    for line in listed.splitlines():
        if start := re.match(r"    (\w+): (.*)", line):
            name = start[1]
            texts[name] = start[2]
        elif line.strip():
            texts[name] += f" {line.strip()}"
    return texts


if __name__ == "__main__":
    print(sections())
