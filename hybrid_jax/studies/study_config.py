"""What a file in `configs/studies/` returns: an experiment with a branch `study`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.studies.study_keys import study_keys

# A name is part of a folder's.
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def study_config(
    base: ConfigDict,
    *,
    variants: Mapping[str, Mapping[str, Any]],
    grid: Mapping[str, Sequence[Any]],
    grids: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    **options: Any,
) -> ConfigDict:
    """Returns `base` with a branch `study`, for `--mode=study`.

    Args:
        base: the experiment that all runs have in common; `eval.split` is the split that
            settings are chosen on.
        variants: name -> what is different, by dotted key; {} is the base itself.
        grid: dotted key -> the values that are tried with every variant; all combinations.
        grids: variant -> values that take the place of those of `grid`.
        options: keys of `study_keys`.

    Raises:
        UserError: an unknown option, or a name that cannot be part of a folder's.
    """
    keys = study_keys()
    for name in options:
        if name not in keys:
            raise UserError(
                f"study_config: unknown option {name!r}.{nearest(name, keys)} "
                f"Known: {', '.join(keys)}."
            )
    for name in [*variants, *options.get("evaluations", {})]:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"study_config: name {name!r}: expected letters, digits, _ and -."
            )
    options |= dict(
        evaluations={
            name: _nested(changes)
            for name, changes in options.get("evaluations", {}).items()
        }
    )
    branch = dict(
        variants={name: _nested(changes) for name, changes in variants.items()},
        grid=_nested(_tuples(grid)),
        grids={name: _nested(_tuples(own)) for name, own in (grids or {}).items()},
        **keys | dict(baseline=next(iter(variants), "")) | options,
    )
    config = ConfigDict(base.to_dict() | dict(study=branch))
    config.lock()
    return config


def _tuples(grid: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    return {key: tuple(values) for key, values in grid.items()}


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns dotted keys as a tree, since a ConfigDict takes no dots."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *branches, leaf = key.split(".")
        node = tree
        for name in branches:
            node = node.setdefault(name, {})
        node[leaf] = value
    return tree
