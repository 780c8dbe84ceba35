"""Options of `config.task` that only classification supports."""

from collections.abc import Mapping
from typing import Any

from hybrid_jax.errors import UserError

_OFF = dict(mixup=0.0, cutmix=0.0, erase=0.0, label_smoothing=0.0, loss="softmax")


def refuse_label_options(task: Mapping[str, Any], *, name: str) -> None:
    """Raises an error for options of classification that another task would ignore.

    Args:
        task: the `task` branch of a config.
        name: name of the task.

    Raises:
        UserError: one of the options does not have its default value.
    """
    for option, off in _OFF.items():
        if task[option] != off:
            raise UserError(
                f"config.task.{option}: expected {off!r} for task {name!r}, because only "
                f"classification supports it, got {task[option]!r}. Set it to {off!r}."
            )
