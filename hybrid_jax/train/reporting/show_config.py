"""`--mode=config`: every key of a run as it will be, marked where it is no default."""

from typing import Any

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.config.keys import tree
from hybrid_jax.data.placeholder_source import train_split_or_placeholder
from hybrid_jax.train.checkpoints.workdir import flat
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.resolve_config import resolve_config


def show_config(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Prints the config that `--mode=train` would train with; computes nothing.

    Args:
        config: from a file in `configs/`.
        workdir: of the run; one that has begun there is taken into account.

    Returns:
        Dotted key -> value.

    Raises:
        UserError: see `resolve_config`.
    """
    path = epath.Path(workdir).expanduser().absolute()
    source, missing = train_split_or_placeholder(config.data)
    resolved = resolve_config(config, source=None if missing else source, workdir=path)
    values = flat(resolved.config.to_dict())
    usual = flat(tree().to_dict())
    if is_main_process():
        print(_table(values, usual))
        if missing and resolved.config.train.steps is None:
            print(f"train.steps is not known: {missing}")
    return values


def _table(values: dict[str, Any], usual: dict[str, Any]) -> str:
    """Returns a line for each key; an asterisk marks those that differ from `usual`."""
    lines, count = [], 0
    for key, value in sorted(values.items()):
        differs = key not in usual or usual[key] != value
        count += differs
        was = f"   (default: {usual[key]!r})" if differs and key in usual else ""
        lines.append(f"{'*' if differs else ' '} {key} = {value!r}{was}")
    return "\n".join([*lines, f"{count} of {len(lines)} keys (*) are not the default"])
