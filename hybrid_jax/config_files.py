"""The experiments that come with the package: their names, files and first lines."""

import ast
import pathlib

_PACKAGE = pathlib.Path(__file__).parent


def folder() -> pathlib.Path:
    """Returns where the experiment files are.

    A wheel carries them inside the package; in a checkout they are `configs/` beside it.
    """
    packaged = _PACKAGE / "configs"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "configs"


def first_lines() -> dict[str, str]:
    """Returns the first line of each experiment's docstring by name, in order of names."""
    lines = {}
    for path in sorted(folder().glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines[path.stem] = docstring.partition("\n")[0]
    return lines


def with_files(argv: list[str]) -> list[str]:
    """Returns a command line whose `--config=NAME` are paths; a path stays a path.

    `NAME` may be followed by a colon and words. Whatever names a file that is there, has a
    folder in it or ends in `.py`, is a path.
    """
    argv = list(argv)
    for i, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        if flag not in ("--config", "-config"):
            continue
        if equals:
            argv[i] = f"{flag}={_with_file(value)}"
        elif i + 1 < len(argv):
            argv[i + 1] = _with_file(argv[i + 1])
    return argv


def _with_file(config: str) -> str:
    name, colon, words = config.partition(":")
    if name.endswith(".py") or "/" in name or pathlib.Path(name).is_file():
        return config
    path = folder() / f"{name}.py"
    return f"{path}{colon}{words}" if path.exists() else config
