"""The trained state of a workdir, for modes that use it without going on training."""

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.contracts import Source
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.checkpoints.workdir import check_same_model
from hybrid_jax.train.experiment import Experiment, prepare
from hybrid_jax.train.state import TrainState


def restored_run(
    config: ConfigDict, workdir: epath.Path, *, source: Source | None = None
) -> tuple[Experiment, TrainState]:
    """Returns a run as it was trained, and the checkpoint that `eval.restore` names.

    Args:
        config: the one the workdir was trained with, on whatever hardware.
        source: as in `prepare`.

    Raises:
        UserError: as `prepare`; another model's workdir, or nothing has been saved there.
    """
    experiment = prepare(config, source=source, workdir=workdir, sizes_from_run=True)
    check_same_model(workdir, experiment.config)
    return experiment, restored_state(workdir, experiment)


def restored_state(workdir: epath.Path, experiment: Experiment) -> TrainState:
    """Returns the "best" or "last" checkpoint's state, as `eval.restore` says.

    Raises:
        UserError: nothing has been saved there, or another model has.
    """
    if not (workdir / "checkpoints").exists():
        raise UserError(
            f"{workdir} has no checkpoints. Train first (--mode=train with the same "
            f"--config and --workdir), or name the workdir of a finished run."
        )
    options = experiment.config.checkpoint
    with Checkpoints(
        workdir, keep=options.keep, best_metric=options.best_metric, read_only=True
    ) as checkpoints:
        state = checkpoints.restore(
            experiment.shapes,
            experiment.shardings,
            which=experiment.config.eval.restore,
        )
    if state is None:
        raise UserError(
            f"{workdir / 'checkpoints'} is empty: the run has saved nothing yet."
        )
    return state
