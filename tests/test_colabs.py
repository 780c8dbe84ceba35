"""The notebooks run from their first cell to their last."""

import json
import pathlib

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "colabs").glob("*.ipynb"))


def code_cells(notebook: pathlib.Path) -> list[str]:
    """Returns the Python of a notebook, without the cells that install it."""
    cells = json.loads(notebook.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [source for source in sources if not source.startswith(("!", "%"))]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, capsys):
    namespace = {}
    for source in code_cells(notebook):
        exec(compile(source, notebook.name, "exec"), namespace)
    assert "top1" in namespace["scores"]
    assert "stride 4: (2, 16, 24, 128)" in capsys.readouterr().out
