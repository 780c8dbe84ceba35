"""Stands here so that the tests find the modules of `data`."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "data"))
