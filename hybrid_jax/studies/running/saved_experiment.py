"""The experiment of one run of a study, read from the JSON named after the colon."""

import json
import pathlib

from ml_collections import ConfigDict

from hybrid_jax.config import from_dict


def get_config(argument: str) -> ConfigDict:
    """Returns the experiment in the file `argument`."""
    return from_dict(json.loads(pathlib.Path(argument).read_text()))
