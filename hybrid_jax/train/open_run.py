"""What a run is made of, checked and told of before its state is made."""

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.contracts import Source
from hybrid_jax.data.checks.first_look import first_look
from hybrid_jax.data.checks.unused_bits import refuse_unused_bits
from hybrid_jax.data.reading import reading_as
from hybrid_jax.data.sources import open_split
from hybrid_jax.train.checkpoints.dataset_record import claim_dataset, record_of
from hybrid_jax.train.checkpoints.workdir import claim
from hybrid_jax.train.experiment import Experiment, prepare
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.reporting.announce import announce, announce_start
from hybrid_jax.train.reporting.heartbeat import Heartbeat


def open_run(
    config: ConfigDict, workdir: epath.Path, *, heartbeat: Heartbeat
) -> tuple[Experiment, Source]:
    """Prepares a run, claims its workdir and prints its first lines.

    Args:
        config: from a file in `configs/`.
        workdir: of the run.
        heartbeat: is told what is being done.

    Returns:
        The experiment, and the split that is evaluated.

    Raises:
        UserError: see `experiment.prepare`, `workdir.claim` and `claim_dataset`.
    """
    heartbeat.doing("opening the data and laying out the model")
    experiment = prepare(config, workdir=workdir)
    announce_start(config)
    heartbeat.doing("looking at the data")
    refuse_unused_bits(experiment.source, config.data)
    eval_source = open_split(config.data, split=config.eval.split)
    record = record_of(experiment.source, eval_source, task=config.task.name)
    claim(workdir, experiment.config)
    claim_dataset(workdir, record, data=config.data.name)
    with reading_as(config.data):
        announce(
            experiment,
            workdir,
            record=record,
            eval_notes=eval_source.info.notes,
            sizes=first_look(experiment.source).sizes if is_main_process() else "",
        )
    return experiment, eval_source
