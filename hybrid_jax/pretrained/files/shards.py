"""Weights in several safetensors files, and the json file that says which holds what.

Format: `model.safetensors.index.json` of transformers, with `weight_map`, name of an array
-> name of the file that holds it.
"""

import json
import pathlib
import re

from hybrid_jax.errors import UserError

INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"(.*)-\d{5}-of-\d{5}\.safetensors")


def read_index(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns name of an array -> the file beside the index that holds it.

    Raises:
        UserError: the index is not as expected, or a file that it names is missing.
    """
    files = {name: path.parent / file for name, file in _weight_map(path).items()}
    missing = sorted({file.name for file in files.values() if not file.is_file()})
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(set(files.values()))} shards are missing, "
            f"such as {missing[0]}. Download them into the same folder."
        )
    return files


def shard_names(path: pathlib.Path) -> list[str]:
    """Returns the names of the files that an index names, each once, there or not.

    Raises:
        UserError: the index is not as expected.
    """
    return sorted(set(_weight_map(path).values()))


def _weight_map(path: pathlib.Path) -> dict[str, str]:
    try:
        names = json.loads(path.read_text("utf-8-sig"))["weight_map"]
        inside = all(pathlib.PurePath(file).name == file for file in names.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected the index of sharded weights, a json object whose "
            f"'weight_map' maps arrays to files ({error!r}). Name the file of the weights."
        ) from error
    if not all(file.endswith(".safetensors") for file in names.values()):
        raise UserError(
            f"{path}: expected shards in .safetensors files, got other ones, which may run "
            f"code. Save the model with safe_serialization=True where it was made."
        )
    if not names or not inside:
        raise UserError(
            f"{path}: expected shards in the same folder, got "
            f"{'other paths' if names else 'none'}. Copy the index and its shards again."
        )
    return names


def file_in(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the index or the one file of weights in a folder; None if there is none."""
    found = [folder / name for name in (INDEX, "model.safetensors")]
    return next((path for path in found if path.is_file()), None)


def refuse_single_shard(path: pathlib.Path) -> None:
    """Raises `UserError` if a file is one of several that make a model."""
    shard = _SHARD.fullmatch(path.name)
    if shard and not path.name.endswith("-00001-of-00001.safetensors"):
        index = path.with_name(f"{shard[1]}.safetensors.index.json")
        raise UserError(
            f"{path} is one shard of a model in several files. Name the index of all, "
            f"{index.name}, in the same folder."
        )
