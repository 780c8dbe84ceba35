"""Runs a notebook from its first cell to its last, without Jupyter.

    python tests/notebook_run.py colabs/01_quickstart.ipynb

A line `!command` goes to a shell, in which `python` is this one; what a cell would show is
rendered and thrown away. After every cell, its CPU time is printed.
"""

import ast
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import types

_SHELL_LINE = re.compile(r"^(\s*)!(.+)$", re.M)


def code_cells(notebook: pathlib.Path) -> list[str]:
    """Returns the code of each cell, as Python: shell lines are calls of `run_shell`."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [_SHELL_LINE.sub(_call, source) for source in sources]


def _call(line: re.Match) -> str:
    return f"{line[1]}run_shell(f{line[2]!r})"


def run_shell(command: str) -> None:
    """Runs a command with this Python first on the path.

    Raises:
        CalledProcessError: its exit status is not 0, which Jupyter would only show.
    """
    place = pathlib.Path(sys.executable).parent
    path = f"{place}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, env=os.environ | dict(PATH=path))


def display(shown: object) -> None:
    """Renders what Jupyter would show of an object: a picture as PNG, else text."""
    render = getattr(shown, "_repr_png_", None)
    assert render() if render else repr(shown) is not None


def stub_of_ipython() -> types.ModuleType:
    """Returns what notebooks import from `IPython.display`."""
    stub = types.ModuleType("IPython.display")
    stub.__dict__.update(display=display, HTML=str)
    return stub


def run(notebook: pathlib.Path) -> dict:
    """Runs the cells in one namespace and returns it."""
    sys.modules["IPython.display"] = stub_of_ipython()
    # Classes of a notebook belong to a module of that name.
    module = sys.modules[notebook.stem] = types.ModuleType(notebook.stem)
    names = module.__dict__
    names["run_shell"] = run_shell
    for number, source in enumerate(code_cells(notebook)):
        before = _cpu_seconds()
        body = ast.parse(source, notebook.name).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        code = compile(ast.Module(body, []), f"{notebook.name}, cell {number}", "exec")
        exec(code, names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), notebook.name, "eval"), names)
            if value is not None:
                display(value)
        print(f"[cell {number}: {_cpu_seconds() - before:.1f} s of CPU]", flush=True)
    return names


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    started = time.monotonic()
    run(pathlib.Path(sys.argv[1]))
    print(f"{time.monotonic() - started:.0f} s, {_cpu_seconds():.0f} s of CPU")
