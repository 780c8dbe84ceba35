"""Options of `config.task` that tasks of boxes and of pixels have no use for."""

from collections.abc import Mapping
from typing import Any

from hybrid_jax.errors import UserError

_OFF = dict(mixup=0.0, cutmix=0.0, erase=0.0, label_smoothing=0.0, loss="softmax")


def refuse_label_options(task: Mapping[str, Any], *, name: str) -> None:
    """Refuses what is for labels of whole images, rather than to ignore it.

    Args:
        task: the `task` branch of a config.
        name: of the task that is built from it.

    Raises:
        UserError: one of the options is not as by default.
    """
    for option, off in _OFF.items():
        if task[option] != off:
            raise UserError(
                f"config.task.{option}: expected {off!r} for task {name!r}, got "
                f"{task[option]!r}: it is for labels of whole images. Leave it at {off!r}."
            )
