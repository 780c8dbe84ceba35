"""The one place where a config is decided: from what a user asks for to what a run does."""

import dataclasses
from collections.abc import Sequence

import jax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from hybrid_jax.config import changed, resolve
from hybrid_jax.contracts import Source
from hybrid_jax.ops.attention import tokamax_kernels
from hybrid_jax.pretrained.weights import Weights, open_weights
from hybrid_jax.tasks import TASKS
from hybrid_jax.train.checkpoints.workdir import settings_of_run, sizes_of_run
from hybrid_jax.train.parallel.sharding import (
    check_batch_size,
    even_batch_size,
    make_mesh,
)


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A config that leaves nothing open, and what was opened to decide it.

    Attributes:
        config: frozen.
        mesh: of the devices.
        weights: files that the model begins with; None without, or if it is continued.
        left_to_hardware: names of sizes that `config.hardware` filled.
        platform: kind of device that the steps are traced for.
    """

    config: FrozenConfigDict
    mesh: Mesh
    weights: Weights | None
    left_to_hardware: tuple[str, ...]
    platform: str


def resolve_config(
    config: ConfigDict,
    *,
    source: Source | None,
    workdir: epath.Path | None = None,
    sizes_from_run: bool = False,
    continued: bool = False,
    devices: Sequence[jax.Device] | None = None,  # pyright: ignore[reportInvalidTypeForm]
    platform: str | None = None,
) -> Resolved:
    """Decides every key of a config; the argument is left as it is.

    In this order: sizes that a run in the workdir had, what its checkpoint or else the
    files of weights decide, sizes that the hardware gives, steps from epochs, the rows of
    an evaluation batch, and the score by which a checkpoint is the best.

    Args:
        config: from a file in `configs/`.
        source: the training split; None if it is not there: `train.epochs` then stay.
        workdir: of a run that may have begun; None for none.
        sizes_from_run: whether sizes left to the hardware are those of that run.
        continued: whether the weights come from a checkpoint, whatever the workdir holds;
            files of weights are then not looked for.
        devices: that the run is for; None takes all of this one.
        platform: "cpu", "gpu" or "tpu", where it differs from the devices' own.

    Raises:
        UserError: a value out of its range, a batch or a mesh that does not fit the
            devices, or files of weights that cannot be used.
    """
    platform = platform or (devices or jax.devices())[0].platform
    of_run = settings_of_run(workdir, config) if workdir is not None else None
    if workdir is not None and sizes_from_run:
        config = changed(config, sizes_of_run(workdir, config))
    weights = None
    if of_run is not None:
        config = changed(config, of_run)
    elif not continued:
        weights = open_weights(config.model, image_size=config.data.image_size)
    if weights is not None:
        config = changed(config, weights.settings(config.model))
    left_to_hardware = _unset_sizes(config)
    length = None if source is None else len(source)
    config = resolve(config, on_cpu=platform == "cpu", num_train_examples=length)
    _check_kernel(config.model.attention, platform)
    mesh = make_mesh(config.mesh, devices=devices)
    train, rows = config.train, config.eval.batch_size
    check_batch_size(
        "train.batch_size", train.batch_size, mesh, micro_batches=train.accumulate
    )
    last = {"eval.batch_size": even_batch_size(rows, mesh)}
    if config.checkpoint.best_metric == "auto":
        last["checkpoint.best_metric"] = TASKS.get(config.task.name).main_score
    return Resolved(
        config=FrozenConfigDict(changed(config, last)),
        mesh=mesh,
        weights=weights,
        left_to_hardware=left_to_hardware,
        platform=platform,
    )


def _unset_sizes(config: ConfigDict) -> tuple[str, ...]:
    sizes = dict(
        image_size=config.data.image_size,
        batch_size=config.train.batch_size,
        steps=config.train.steps or config.train.epochs,
    )
    return tuple(name for name, value in sizes.items() if value is None)


def _check_kernel(kernel: str, platform: str) -> None:
    """Raises `UserError` if the library of a chosen kernel is not installed."""
    if kernel == "tokamax" and platform != "cpu":
        tokamax_kernels.import_tokamax()
