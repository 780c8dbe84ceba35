"""What a run leaves on disk, and whether another run may go on from it."""

import functools
import json
from collections.abc import Callable
from typing import Any

from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from hybrid_jax.config import to_json
from hybrid_jax.config.keys import tree
from hybrid_jax.config.renamed_keys import RENAMED_KEYS
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.weights import KEYS, keys_from_files
from hybrid_jax.train.parallel.distributed import is_main_process

# What a continued run may change: nothing here alters the numbers of a step, but for
# train.steps, which is how a finished run is made longer.
_MAY_CHANGE = (
    "train.steps",
    "train.epochs",
    "data.workers",
    "data.threads",
    "data.prefetch",
    "checkpoint.",
    "eval.",
    "log.",
    "profile.",
    "mesh.",
    "hardware.",
)


def claim(workdir: epath.Path, config: ConfigDict) -> None:
    """Writes `config.json`, or checks that the one there describes the same run.

    A workdir without a checkpoint holds nothing to continue and may be taken over.

    Raises:
        UserError: the workdir belongs to another experiment.
    """
    saved = _saved(workdir)
    wanted = json.loads(to_json(config))
    if saved is not None and has_checkpoint(workdir):
        for key, was, now in _refuse(workdir, saved, wanted, matters=_alters_training):
            if is_main_process():
                print(f"continuing with config.{key} = {now!r} (was {was!r})", flush=True)
    # No process may still be reading while the first one writes.
    multihost_utils.sync_global_devices("workdir checked")
    if is_main_process() and saved != wanted:
        write_whole(workdir / "config.json", to_json(config) + "\n")


def write_whole(path: epath.Path, text: str) -> None:
    """Writes a file in one move, so that a process killed while writing leaves no half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replacement = path.with_name(f"{path.name}.tmp")
    replacement.write_text(text)
    replacement.replace(path)


def check_same_model(workdir: epath.Path, config: ConfigDict) -> None:
    """Raises `UserError` if the workdir's model or data are not those of `config`."""
    saved = _saved(workdir)
    if saved is not None:
        _refuse(workdir, saved, json.loads(to_json(config)), matters=_alters_model)


def saved_config(workdir: epath.Path) -> ConfigDict:
    """Returns the resolved config of a run; keys younger than it have their defaults.

    Raises:
        UserError: there is no run.
    """
    saved = _saved(workdir)
    if saved is None:
        raise UserError(
            f"{workdir} holds no config.json, so no run. Name the workdir of one."
        )
    config = tree()
    with config.unlocked(), config.ignore_type():
        config.update(_with_tuples(saved))
    return config


def adopted(config: ConfigDict, workdir: epath.Path) -> tuple[ConfigDict, bool]:
    """Returns a copy of `config` with what the run in `workdir` decided, and whether its
    checkpoint holds the weights; see `adopt_sizes` and `adopt_weights`."""
    config = config.copy_and_resolve_references()
    adopt_sizes(workdir, config)
    return config, adopt_weights(workdir, config)


def adopt_sizes(workdir: epath.Path, config: ConfigDict) -> None:
    """Fills sizes the config leaves to the hardware with those of the run.

    So that a run made on an accelerator can be evaluated on a laptop.
    """
    saved = _saved(workdir)
    if saved is None:
        return
    with config.unlocked(), config.ignore_type():
        if config.data.image_size is None:
            config.data.image_size = tuple(saved["data"]["image_size"])
        if config.train.steps is None and config.train.epochs is None:
            config.train.steps = saved["train"]["steps"]


def adopt_weights(workdir: epath.Path, config: ConfigDict) -> bool:
    """Tells whether a checkpoint holds the weights, so that published files need not be.

    If so, `config` gets what the run once took from those files: numerics and the way
    images are prepared. A run can so be continued where the files are not.
    """
    saved = _saved(workdir)
    if saved is None or not has_checkpoint(workdir):
        return False
    there = _flat(saved)
    if any(there.get(f"model.{key}") != config.model[key] for key in KEYS):
        return False  # another experiment; comparing the two will say so
    with config.unlocked(), config.ignore_type():
        for key in keys_from_files(config.model):
            if key in there:
                config.update_from_flattened_dict({key: there[key]})
    return True


def _saved(workdir: epath.Path) -> dict[str, Any] | None:
    path = workdir / "config.json"
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text())
        if not isinstance(saved, dict):
            raise ValueError("no keys")
    except ValueError as error:
        raise UserError(
            f"{path} is not the JSON of a config ({error}). Restore it from a copy; if you "
            f"know the config is the one this run began with, remove the file and start "
            f"again."
        ) from error
    return _renewed(saved)


def _renewed(saved: dict[str, Any]) -> dict[str, Any]:
    """Returns what an older run has written, under today's keys; changes `saved`."""
    for old, new in RENAMED_KEYS.items():
        *branch, name = old.split(".")
        node = functools.reduce(lambda tree, key: tree.get(key, {}), branch, saved)
        if name in node:
            node[new.rpartition(".")[2]] = node.pop(name)
    options = saved.get("model", {}).get("vit_options", {})
    if isinstance(options.get("remat"), bool):
        options["remat"] = "full" if options["remat"] else "none"
    return saved


def _with_tuples(node: Any) -> Any:
    """Turns JSON's lists back to the tuples that they were."""
    if isinstance(node, dict):
        return {key: _with_tuples(value) for key, value in node.items()}
    return tuple(map(_with_tuples, node)) if isinstance(node, list) else node


def has_checkpoint(workdir: epath.Path) -> bool:
    """Whether a run has saved anything in `workdir`."""
    checkpoints = workdir / "checkpoints"
    return checkpoints.exists() and any(
        path.name.isdigit() for path in checkpoints.iterdir()
    )


def _alters_training(key: str) -> bool:
    return not key.startswith(_MAY_CHANGE)


def _alters_model(key: str) -> bool:
    """The compute dtype is how a model is run, not which model it is."""
    same = ("model.", "task.name", "data.name", "data.image_size")
    return key.startswith(same) and key != "model.dtype"


def _refuse(
    workdir: epath.Path,
    saved: dict[str, Any],
    wanted: dict[str, Any],
    *,
    matters: Callable[[str], bool],
) -> list[tuple[str, Any, Any]]:
    """Returns the keys that differ and may; raises `UserError` over those that may not."""
    there, here = _flat(saved), _flat(wanted)
    # A key younger than the run changes nothing where it is left at its default.
    defaults = _flat(json.loads(to_json(tree())))
    there |= {key: defaults[key] for key in defaults.keys() & here.keys() - there.keys()}
    differing = [
        (key, there.get(key), here.get(key))
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    refused = [entry for entry in differing if matters(entry[0])]
    if refused:
        lines = "\n".join(
            f"    {key}: there {was!r}, here {now!r}" for key, was, now in refused
        )
        raise UserError(
            f"{workdir} holds another run; these keys differ:\n{lines}\n"
            f"  Use the same values to continue it, or another --workdir."
        )
    return differing


def forget_after(workdir: epath.Path, step: int) -> None:
    """Drops rows of `metrics.jsonl` later than `step`, which will be made again.

    A process killed between two checkpoints has logged steps that the next one repeats;
    it may also have left half a line.
    """
    path = workdir / "metrics.jsonl"
    if not is_main_process() or not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] <= step:
            kept.append(line)
    write_whole(path, "".join(f"{line}\n" for line in kept))


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict) or not node:
        return {prefix.removesuffix("."): node}
    flat = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat
