"""Stands here so that the tests find the modules of `models`."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "models"))
