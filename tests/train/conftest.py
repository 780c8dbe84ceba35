"""Stands here so that the tests below find the modules of `models` and of `data`."""

import pathlib
import sys

sys.path += [str(pathlib.Path(__file__).parents[1] / name) for name in ("models", "data")]
