"""The experiments of this repository, loaded from their files."""

import importlib.util
import pathlib

FOLDER = pathlib.Path(__file__).parents[1] / "configs"


def load(name: str):
    """Returns the module of `configs/<name>.py`."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
