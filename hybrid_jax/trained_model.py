"""`load_trained`: the model that a run has left in its workdir, for use in Python."""

import os

import jax
from etils import epath

from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.train.nameless import InfoAlone, classes_in_checkpoint, numbered
from hybrid_jax.train.restore import restored_run
from hybrid_jax.train.state import merge_model
from hybrid_jax.train.workdir import saved_config


def load_trained(workdir: str | os.PathLike, *, restore: str = "best") -> Hybrid:
    """Restores the model of a run, of any task and from its workdir alone.

    Neither the config file nor the data set has to be there. The averaged parameters are
    taken where the run has them, as in evaluation. Images want the normalisation that
    `config.json` names under `model.normalisation`, as in training.

    Args:
        workdir: of the training run.
        restore: "best", by its score on validation, or "last".

    Returns:
        The model; every device of this process has a copy of its arrays.

    Raises:
        UserError: no run there, or no checkpoint of it.
    """
    path = epath.Path(workdir).expanduser().absolute()
    config = saved_config(path)
    with config.unlocked(), config.ignore_type():
        config.eval.restore = restore
        # The run may have had more devices; no batch is made here.
        config.mesh.update(data=-1, fsdp=1, tensor=1)
        config.train.update(batch_size=jax.device_count(), accumulate=1)
        config.eval.batch_size = jax.device_count()
    count = classes_in_checkpoint(path, config)
    size = tuple(config.data.image_size)
    source = InfoAlone(numbered(count, largest_hw=size))
    experiment, state = restored_run(config, path, source=source)
    return merge_model(experiment.graph, state.eval_params, state.mutable)
