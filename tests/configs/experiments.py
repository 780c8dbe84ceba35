"""The files in `configs/`, loaded from their paths as the command line loads them."""

import importlib.util
import pathlib

FOLDER = pathlib.Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def load(name):
    """Returns the module of one experiment."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
