"""A trained run and the splits that it is to be scored on."""

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.config.splits_read import eval_splits
from hybrid_jax.contracts import Source
from hybrid_jax.data.sources import open_split
from hybrid_jax.train.checkpoints.dataset_record import read_record, say_unrecorded
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.state import TrainState


def scored_run(
    config: ConfigDict, workdir: epath.Path
) -> tuple[Experiment, TrainState, dict[str, Source]]:
    """Restores a checkpoint and opens the splits of `config.eval.split`.

    Args:
        config: the config of the training run; the hardware may differ. `eval.split` may
            be several splits, separated by commas; `eval.restore` is "best" or "last".
        workdir: of the training run.

    Returns:
        The run, its state, and the sources by name of the split.

    Raises:
        UserError: no checkpoint, a checkpoint of another model, other classes, or an
            unknown split.
    """
    sources = {s: open_split(config.data, split=s) for s in eval_splits(config)}
    train_source = open_split(config.data, split=config.data.train_split)
    record = read_record(workdir)
    if record is None:
        say_unrecorded(workdir, classes="are taken to be those that the data has now")
    else:
        for source in (train_source, *sources.values()):
            record.check_classes(source.info, workdir=workdir, data=config.data.name)
    experiment, state = restored_run(config, workdir, source=train_source)
    if is_main_process():
        restore = experiment.config.eval.restore
        print(f"scoring the {restore} checkpoint (config.eval.restore)")
        for note in dict.fromkeys(n for s in sources.values() for n in s.info.notes):
            print(f"data: {note}")
    return experiment, state, sources
