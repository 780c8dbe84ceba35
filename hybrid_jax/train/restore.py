"""The trained state of a workdir, for modes that use it without going on training."""

from etils import epath

from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoint import Checkpoints
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.state import TrainState


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
    checkpoints = Checkpoints(
        workdir, keep=options.keep, best_metric=options.best_metric, read_only=True
    )
    try:
        state = checkpoints.restore(
            experiment.shapes,
            experiment.shardings,
            which=experiment.config.eval.restore,
        )
    finally:
        checkpoints.close()
    if state is None:
        raise UserError(
            f"{workdir / 'checkpoints'} is empty: the run has saved nothing yet."
        )
    return state
