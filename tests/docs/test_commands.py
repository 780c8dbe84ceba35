"""What the pages tell people to type exists: configs, keys, flags, names in Python."""

import importlib.util
import inspect
import pathlib
import re
import shlex

import documents
import pytest

import hybrid_jax
from hybrid_jax.command_line import flag_list
from hybrid_jax.config import resolve

FLAGS = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', inspect.getsource(flag_list)))
MODES = flag_list.MODES


def commands(text: str) -> list[list[str]]:
    """Returns the words of each line of shell that names a config."""
    lines = "".join(documents.blocks(text, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in words if any("--config=configs/" in word for word in line)]


ALL = [
    pytest.param(line, id=f"{page}-{number}")
    for page, text in documents.PAGES.items()
    for number, line in enumerate(commands(text))
]


def test_pages_have_commands():
    assert len(ALL) > 40


@pytest.mark.parametrize("words", ALL)
def test_command_is_one_the_library_takes(words):
    flags = dict(word[2:].split("=", 1) for word in words if re.match(r"--[\w.]+=", word))
    path, _, argument = flags["config"].partition(":")
    config = _get_config(documents.ROOT / path)(argument)
    for name, value in flags.items():
        if name.startswith("config."):
            _set(config, name.removeprefix("config."), value)
        elif "hybrid_jax.main" in words:
            assert name in FLAGS, f"--{name} is no flag of hybrid_jax.main"
    assert flags.get("mode", "train") in MODES
    assert resolve(config, on_cpu=True, num_train_examples=1000).train.steps >= 1


def _get_config(path: pathlib.Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


def _set(config, path: str, text: str) -> None:
    branch, _, leaf = path.rpartition(".")
    for name in branch.split("."):
        config = config[name]
    old = config[leaf]  # raises for a key that is none
    kind = type(old) if isinstance(old, int | float) else str
    with config.ignore_type():
        config[leaf] = kind(text)


@pytest.mark.parametrize("page", documents.PAGES)
def test_files_that_a_page_names_are_there(page):
    named = re.findall(
        r"\b(?:configs|benchmarks|colabs|launch)/[\w*]+\.\w+", documents.PAGES[page]
    )
    for name in set(named):
        assert list(documents.ROOT.glob(name)), f"{page} names {name}, which is not there"


@pytest.mark.parametrize("page", documents.PAGES)
def test_names_in_python_exist(page):
    for block in documents.blocks(documents.PAGES[page], "python"):
        for name in re.findall(r"\bhybrid_jax\.(\w+)", block):
            found = importlib.util.find_spec(f"hybrid_jax.{name}")
            assert found or name in hybrid_jax.__all__, f"{page}: no hybrid_jax.{name}"
