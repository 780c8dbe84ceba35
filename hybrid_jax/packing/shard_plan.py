"""Which examples go into which file, fixed before the first one is written."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from hybrid_jax.data.formats.record_folder import BEGUN, FINISHED
from hybrid_jax.errors import UserError
from hybrid_jax.packing.packed_example import Packer

_SHARD_BYTES = 128 * 2**20
_LOOKED_AT = 32  # examples, for their size


def examples_per_shard(packer: Packer) -> int:
    """Returns how many examples make a file of about 128 MiB."""
    total = len(packer.source)
    chosen = np.linspace(0, total - 1, min(total, _LOOKED_AT)).astype(int).tolist()
    sizes = [len(record) for i in chosen if (record := packer.record(i)) is not None]
    return max(1, round(_SHARD_BYTES / float(np.mean(sizes)))) if sizes else total


def ranges(total: int, *, per_shard: int) -> list[tuple[int, int]]:
    """Returns the first index of each file and the one behind its last."""
    return [(start, min(start + per_shard, total)) for start in range(0, total, per_shard)]


def claim_folder(folder: epath.Path, settings: Mapping[str, Any], *, plan) -> dict:
    """Returns how many examples a shard of each split has, in a folder of this packing.

    A folder in which packing has begun goes on as it began.

    Args:
        folder: of the output.
        settings: what the packing depends on, as plain values.
        plan: called for split -> examples of a shard, if nothing has begun.

    Raises:
        UserError: the folder holds another packing or the `dataset.json` of a run, or is
            no folder.
    """
    path = folder / BEGUN
    if path.exists():
        try:
            begun = json.loads(path.read_text())
            was, per_shard = dict(begun["settings"]), dict(begun["per_shard"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error!r}). Remove {folder}.") from error
        _check_same(folder, was, settings)
        return per_shard
    if (folder / FINISHED).exists():
        raise UserError(
            f"--output: expected a new folder, or one of a packing that was interrupted, "
            f"but {folder} holds a {FINISHED} of something else. Choose another one."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be made: {error}.") from error
    per_shard = plan()
    arriving = folder / f"{BEGUN}.tmp"
    arriving.write_text(json.dumps(dict(settings=settings, per_shard=per_shard), indent=1))
    arriving.replace(path)
    return per_shard


def _check_same(folder: epath.Path, was: dict, settings: Mapping[str, Any]) -> None:
    """Raises `UserError` if a packing of other settings, or of other files, has begun."""
    # What an older version did not write down is not compared.
    differing = [key for key in settings if key in was and was[key] != settings[key]]
    for key in differing:
        if key != "listing":
            raise UserError(
                f"{folder} holds another packing: {key} was {was[key]!r} and is "
                f"{settings[key]!r} now. Choose another --output, or remove that folder."
            )
    if differing:
        then, now = map(_files, (was["listing"], settings["listing"]))
        raise UserError(
            f"{folder} was packed from other files: {then} then, {now} now, or of other "
            f"names or annotations. To pack the data as it is now, choose another "
            f"--output, or remove that folder."
        )


def _files(listing: Mapping[str, Any] | None) -> str:
    found = listing or {}
    return f"{found.get('files', 0):,} files of {found.get('bytes', 0):,} bytes"
