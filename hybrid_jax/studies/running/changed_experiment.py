"""An experiment with some keys changed, and as a file that a run is started from."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.config import from_dict
from hybrid_jax.config.keys import tree
from hybrid_jax.errors import UserError, nearest
from hybrid_jax.train.checkpoints.workdir import flat

# Their keys are those of the fusion or head that is chosen, which checks them itself.
_OPEN = ("model.fusion_options", "model.head_options")


def changed_experiment(
    base: Mapping[str, Any], changes: Mapping[str, Any], *, where: str
) -> ConfigDict:
    """Returns an experiment that differs from `base` by dotted keys.

    Args:
        base: a tree of plain values.
        where: who asks for the changes, for the message.

    Raises:
        UserError: a key that the configuration does not have.
    """
    known = flat(tree().to_dict())
    values = json.loads(json.dumps(base))
    for key, value in changes.items():
        if key not in known and not key.startswith(tuple(f"{name}." for name in _OPEN)):
            raise UserError(f"{where}: the config has no key {key!r}.{nearest(key, known)}")
        *branches, leaf = key.split(".")
        node = values
        for name in branches:
            node = node.setdefault(name, {})
        node[leaf] = value
    return from_dict(json.loads(json.dumps(values)))


def differences(experiment: ConfigDict) -> dict[str, Any]:
    """Returns the dotted keys that do not have the library's default, as JSON has them."""
    usual = json.loads(json.dumps(flat(tree().to_dict())))
    here = json.loads(json.dumps(flat(experiment.to_dict())))
    return {
        key: value
        for key, value in sorted(here.items())
        if key not in usual or usual[key] != value
    }
