"""What is frozen: found by path, split off the tree, and kept out of the training step.

Frozen parameters get neither gradients nor optimizer moments. A BatchNorm whose scale and
bias are both frozen works in training as it does in evaluation: it normalizes by its
running statistics and leaves them as they are.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Set
from typing import Any

import jax
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.models.layers.normalization import BatchNorm
from hybrid_jax.train.state import path_name

_KEY = "config.optimizer.freeze"


def found_by(pattern: str, paths: Collection[str]) -> frozenset[str]:
    """Returns the paths in which a regular expression finds something; "" finds nothing.

    Raises:
        UserError: an expression that finds none of the paths.
    """
    if not pattern:
        return frozenset()
    found = frozenset(path for path in paths if re.search(pattern, path))
    if not found:
        raise UserError(
            f"{_KEY}: {pattern!r} finds none of the model's {len(paths)} parameters."
            f"{_near(pattern, paths)} It is a regular expression, searched for in paths "
            f"such as {_examples(paths)}."
        )
    return found


def check_some_left(frozen: Set[str], paths: Collection[str]) -> None:
    """Raises `UserError` if every one of the paths is frozen."""
    if frozen >= set(paths):
        raise UserError(
            f"{_KEY}: with the branches whose optimizer.branch is 0.0 it freezes all "
            f"{len(frozen)} parameters, so nothing would be trained. Leave some, such as "
            f"{_examples(paths)}."
        )


def paths_of(tree: Mapping[str, Any]) -> frozenset[str]:
    """Returns the paths of all leaves of a nested dict."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return frozenset(path_name(path) for path, _ in leaves)


def split(tree: Mapping[str, Any], frozen: Set[str]) -> tuple[dict, dict]:
    """Splits a nested dict of parameters into (trained, frozen) by their paths."""
    parts: tuple[dict, dict] = {}, {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        node = parts[path_name(path) in frozen]
        *branches, name = (entry.key for entry in path)
        for branch in branches:
            node = node.setdefault(branch, {})
        node[name] = leaf
    return parts


def join(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Puts together what `split` took apart."""
    both = first.keys() & second.keys()
    return {**first, **second} | {name: join(first[name], second[name]) for name in both}


def fix_frozen_norms(model: nnx.Module, frozen: Set[str]) -> None:
    """Keeps every BatchNorm with frozen scale and bias to its running statistics."""
    for path, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm):
            own = "/".join(map(str, path))
            module.fixed = {f"{own}/scale", f"{own}/bias"} <= frozen


def _near(pattern: str, paths: Collection[str]) -> str:
    """Returns a question with up to three beginnings of paths that resemble a pattern."""
    beginnings = dict.fromkeys(
        "/".join(path.split("/")[:length])
        for path in paths
        for length in range(1, path.count("/") + 2)
    )
    word = pattern.strip("^$/")
    close = difflib.get_close_matches(word, beginnings, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def _examples(paths: Collection[str]) -> str:
    ordered = sorted(paths)
    return " and ".join(dict.fromkeys((ordered[0], ordered[-1])))
