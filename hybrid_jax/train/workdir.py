"""What a run leaves on disk, and whether another run may go on from it."""

import json
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.config import as_json
from hybrid_jax.errors import UserError
from hybrid_jax.train.distributed import is_main_process

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
    "mesh.",
    "hardware.",
)


def claim(workdir: epath.Path, config: ConfigDict) -> None:
    """Writes `config.json`, or checks that the one there describes the same run.

    Raises:
        UserError: the workdir belongs to another experiment.
    """
    check_same_run(workdir, config)
    if is_main_process():
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text(as_json(config) + "\n")


def check_same_run(workdir: epath.Path, config: ConfigDict) -> None:
    """Raises `UserError` if the workdir holds a run that differs where it matters."""
    path = workdir / "config.json"
    if not path.exists():
        return
    saved, wanted = (
        _flat(json.loads(path.read_text())),
        _flat(json.loads(as_json(config))),
    )
    differing = [
        key
        for key in sorted(saved.keys() | wanted.keys())
        if saved.get(key) != wanted.get(key)
    ]
    refused = [key for key in differing if not key.startswith(_MAY_CHANGE)]
    if refused:
        lines = "\n".join(
            f"    {key}: there {saved.get(key)!r}, here {wanted.get(key)!r}"
            for key in refused
        )
        raise UserError(
            f"{workdir} holds another run; these keys differ:\n{lines}\n"
            f"  Use the same values to continue it, or another --workdir."
        )
    for key in differing:
        if is_main_process():
            print(
                f"continuing with config.{key} = {wanted.get(key)!r} "
                f"(was {saved.get(key)!r})",
                flush=True,
            )


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
    replacement = workdir / "metrics.jsonl.tmp"
    replacement.write_text("".join(f"{line}\n" for line in kept))
    replacement.replace(path)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix.removesuffix("."): tree}
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat
