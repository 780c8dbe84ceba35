"""The experiments that come with the package: their names, files and first lines."""

import ast
import pathlib
import runpy

from ml_collections import ConfigDict

_PACKAGE = pathlib.Path(__file__).parent


def folder() -> pathlib.Path:
    """Returns where the experiment files are.

    A wheel carries them inside the package; in a checkout they are `configs/` beside it.
    """
    packaged = _PACKAGE / "configs"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "configs"


def first_lines() -> dict[str, str]:
    """Returns the first line of each experiment's docstring by name, in order of names."""
    return _first_lines(folder())


def study_lines() -> dict[str, str]:
    """Returns the same of the studies, whose names begin with `studies/`."""
    lines = _first_lines(folder() / "studies")
    return {f"studies/{name}": line for name, line in lines.items()}


def _first_lines(place: pathlib.Path) -> dict[str, str]:
    lines = {}
    for path in sorted(place.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines[path.stem] = docstring.partition("\n")[0]
    return lines


def named(config: str) -> ConfigDict:
    """Returns an experiment that comes with the package, as `tiny` or `tiny:shapes`."""
    name, _, words = config.partition(":")
    file = runpy.run_path(str(folder() / f"{name}.py"))
    return file["get_config"](words) if words else file["get_config"]()


def with_files(argv: list[str]) -> list[str]:
    """Returns a command line whose `--config=NAME` are paths; a path stays a path.

    `NAME` may be followed by a colon and words. Whatever names a file that is there, has a
    folder in it other than `studies/`, or ends in `.py`, is a path.
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
    in_a_folder = "/" in name.removeprefix("studies/")
    if name.endswith(".py") or in_a_folder or pathlib.Path(name).is_file():
        return config
    path = folder() / f"{name}.py"
    return f"{path}{colon}{words}" if path.exists() else config
