"""What a run leaves on disk, and whether another run may go on from it."""

import functools
import json
from collections.abc import Callable
from typing import Any

from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from hybrid_jax.config import from_dict, to_json
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
    "data.max_pixels",
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
    return from_dict(saved)


def sizes_of_run(workdir: epath.Path, config: ConfigDict) -> dict[str, Any]:
    """Returns dotted keys for sizes that `config` leaves to the hardware, as the run had.

    So that a run made on an accelerator can be evaluated on a laptop.
    """
    saved = _saved(workdir)
    sizes: dict[str, Any] = {}
    if saved is None:
        return sizes
    if config.data.image_size is None:
        sizes["data.image_size"] = tuple(saved["data"]["image_size"])
    if config.train.steps is None and config.train.epochs is None:
        sizes["train.steps"] = saved["train"]["steps"]
    return sizes


def settings_of_run(workdir: epath.Path, config: ConfigDict) -> dict[str, Any] | None:
    """Returns what a run once took from files of weights, if its checkpoint holds them.

    That is dotted keys of numerics and of the way images are prepared. A run can so be
    continued where the files are not. None if there is no such run: files that `config`
    names are then needed.
    """
    saved = _saved(workdir)
    if saved is None or not has_checkpoint(workdir):
        return None
    there = flat(saved)
    if any(there.get(f"model.{key}") != config.model[key] for key in KEYS):
        return None  # another experiment; comparing the two will say so
    return {key: there[key] for key in keys_from_files(config.model) if key in there}


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


def has_checkpoint(workdir: epath.Path) -> bool:
    """Whether a run has saved anything in `workdir`."""
    checkpoints = workdir / "checkpoints"
    return checkpoints.exists() and any(
        path.name.isdigit() for path in checkpoints.iterdir()
    )


def _alters_training(key: str) -> bool:
    return not key.startswith(_MAY_CHANGE)


def _alters_model(key: str) -> bool:
    """Some keys of the model are how it is run, not which model it is."""
    same = ("model.", "task.name", "data.name", "data.image_size")
    how = ("model.dtype", "model.vit_options.position_resize")
    return key.startswith(same) and key not in how


def _refuse(
    workdir: epath.Path,
    saved: dict[str, Any],
    wanted: dict[str, Any],
    *,
    matters: Callable[[str], bool],
) -> list[tuple[str, Any, Any]]:
    """Returns the keys that differ and may; raises `UserError` over those that may not."""
    there, here = flat(saved), flat(wanted)
    # A key younger than the run changes nothing where it is left at its default.
    defaults = flat(json.loads(to_json(tree())))
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


def has_row(workdir: epath.Path, step: int, *, split: str) -> bool:
    """Whether `metrics.jsonl`, of whole lines, has a row of `split` for `step`."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return False
    rows = map(json.loads, path.read_text().splitlines())
    return any((row["step"], row["split"]) == (step, split) for row in rows)


def flat(node: Any) -> dict[str, Any]:
    """Returns a tree's leaves by dotted key; an empty branch is a leaf."""
    if not isinstance(node, dict) or not node:
        return {"": node}
    return {
        f"{key}.{below}".removesuffix("."): leaf
        for key, value in node.items()
        for below, leaf in flat(value).items()
    }
