"""The notebooks name only what is there, and run from their first cell to their last."""

import ast
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import notebook_run
import pytest

import hybrid_jax
from hybrid_jax.command_line import flag_list
from hybrid_jax.config import defaults

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colabs").glob("*.ipynb"))
SECONDS_AT_MOST = 3600  # of a run that hangs
sys.path.append(str(ROOT / "colabs"))
import write_address  # noqa: E402

COLAB = "https://colab.research.google.com"


def cells(notebook, kind):
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def of_every_notebook(function):
    return pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)(
        function
    )


def test_all_are_there():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


@of_every_notebook
def test_format_is_4_5_and_nothing_was_run(notebook):
    document = json.loads(notebook.read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    assert set(document) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
    for cell in document["cells"]:
        assert re.fullmatch(r"[\w-]{1,64}", cell["id"])
        keys = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            keys |= {"execution_count", "outputs"}
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
        assert set(cell) == keys
        assert cell["source"]
        assert cell["metadata"] == {}


@of_every_notebook
def test_first_cell_installs_what_is_not_there(notebook, monkeypatch):
    first = notebook_run.code_cells(notebook)[0]
    asked = []
    names = dict(run_shell=asked.append)
    exec(first, names)
    assert asked == []  # the library is there
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(first, names)
    [command] = asked
    assert re.fullmatch(
        rf'pip install --quiet "hybrid_jax\[\w+\] @ git\+{names["REPOSITORY"]}"', command
    )


@of_every_notebook
def test_badge_opens_this_file(notebook):
    repository = re.search(r'REPOSITORY = "(.+?)"', cells(notebook, "code")[0])[1]
    page = repository.replace("https://github.com", f"{COLAB}/github")
    link = f"{page}/blob/main/colabs/{notebook.name}"
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({link})"
    assert badge in cells(notebook, "markdown")[0]


@of_every_notebook
def test_code_compiles_and_its_imports_exist(notebook):
    for source in notebook_run.code_cells(notebook):
        for node in ast.walk(ast.parse(source, notebook.name)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("hybrid_jax"):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module}.{name.name}"


@of_every_notebook
def test_names_of_the_library_exist(notebook):
    for source in [*cells(notebook, "code"), *cells(notebook, "markdown")]:
        for name in re.findall(r"\bhybrid_jax\.(\w+)", source):
            found = name in hybrid_jax.__all__
            assert found or importlib.util.find_spec(f"hybrid_jax.{name}"), name


@of_every_notebook
def test_keys_and_flags_exist(notebook):
    text = "\n".join([*cells(notebook, "code"), *cells(notebook, "markdown")])
    keys = re.findall(r"(?<![\w.])(?:config|base)\.([a-z_.]+[a-z_])", text)
    keys += re.findall(r'"((?:model|optimizer|train|data|eval)\.[a-z_.]+)":', text)
    assert keys
    for key in keys:
        node = defaults()
        for name in key.removesuffix(".update").split("."):
            assert name in node, f"{key} is no key of the config"
            node = node[name]
    for flag, value in re.findall(r" --(\w+)=(\S+)", text):
        assert flag in flag_list.flags.FLAGS
        if flag == "mode":
            assert value.rstrip("`") in flag_list.MODES
    for name in re.findall(r"`((?:docs|colabs)/[\w.]+)`", text):
        assert (ROOT / name).exists(), name


def test_address_stands_once():
    url = write_address.address()
    for notebook in NOTEBOOKS:
        text = notebook.read_text(encoding="utf-8")
        assert text == write_address.with_address(text, url), "colabs/write_address.py"
        other = write_address.with_address(text, "https://github.com/ann/copy")
        assert other.count("ann/copy") == text.count(
            url.removeprefix("https://github.com/")
        )
        assert write_address.with_address(other, url) == text
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("hybrid_jax/**/*.py")]
    written = [path.name for path in pages if url in path.read_text(encoding="utf-8")]
    assert written == [], "it stands in setup.py"


@pytest.mark.slow
@of_every_notebook
def test_notebook_runs(notebook, tmp_path):
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | dict(PYTHONPATH=paths, HYBRID_JAX_DATA=str(tmp_path / "data"))
    # One device, as people have; the notebook of several devices sets their number.
    env["XLA_FLAGS"] = re.sub(r"--xla_force_host\S+", "", env["XLA_FLAGS"])
    done = subprocess.run(
        [sys.executable, notebook_run.__file__, notebook],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS_AT_MOST,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
