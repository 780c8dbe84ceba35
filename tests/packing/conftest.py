"""Stands here so that the tests find the modules of `data` and `checking`."""

import pathlib
import sys

sys.path += [str(pathlib.Path(__file__).parents[1] / name) for name in ("data", "checking")]
