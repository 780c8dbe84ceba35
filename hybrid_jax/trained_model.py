"""`load_trained`: the model that a run has left in its workdir, for use in Python."""

import dataclasses
import os

import jax
from etils import epath
from ml_collections import ConfigDict, FrozenConfigDict

from hybrid_jax.config import changed
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.models.layers.folding import fold
from hybrid_jax.train.checkpoints.recorded_source import recorded_source
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.checkpoints.workdir import saved_config
from hybrid_jax.train.state import merge_model


def load_trained(
    workdir: str | os.PathLike,
    *,
    restore: str = "best",
    dtype: str | None = None,
    folded: bool = True,
) -> Hybrid:
    """Restores the model of a run, of any task and from its workdir alone.

    Neither the config file nor the data set has to be there. The averaged parameters are
    taken where the run has them, as in evaluation. Images want the normalization that
    `config.json` names under `model.normalization`, as in training.

    Args:
        workdir: of the training run.
        restore: "best", by its score on validation, or "last".
        dtype: compute dtype, "float32" or "bfloat16"; that of the run if None.
        folded: ready for inference, see `layers/folding.py`: standardized kernels, norms
            and branches are computed once, and the outputs equal to rounding. To train the
            model, export it or look at its arrays, take it as it was trained: False.

    Returns:
        The model, its arrays on this process's first device.

    Raises:
        UserError: no run there, no checkpoint of it, a damaged `dataset.json`, or an
            unknown `restore` or `dtype`.
    """
    found = restored_model(workdir, restore=restore, dtype=dtype, folded=folded)
    return found.model


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """The model of a run, with what its images and outputs mean.

    Attributes:
        model: its arrays on this process's first device.
        config: of the run, resolved on this machine.
        info: the classes.
        step: of the checkpoint.
    """

    model: Hybrid
    config: ConfigDict | FrozenConfigDict
    info: DatasetInfo
    step: int


def restored_model(
    workdir: str | os.PathLike,
    *,
    restore: str = "best",
    dtype: str | None = None,
    folded: bool = True,
) -> TrainedModel:
    """Does what `load_trained` does, and returns the classes and the config too."""
    path = epath.Path(workdir).expanduser().absolute()
    config, count = saved_config(path), jax.device_count()
    # The run may have had more devices. While it is read, each has a share of the moments
    # too; and no batch is made.
    here = {"mesh.data": 1, "mesh.fsdp": -1, "mesh.tensor": 1}
    here |= {"train.batch_size": count, "train.accumulate": 1, "eval.batch_size": count}
    wanted = {"eval.restore": restore, "model.dtype": dtype or config.model.dtype}
    config = changed(config, here | wanted)
    source = recorded_source(config, path, compare=False)
    experiment, state = restored_run(config, path, source=source)
    arrays = jax.device_put((state.eval_params, state.mutable), jax.local_devices()[0])
    model = merge_model(experiment.graph, *arrays)
    assert isinstance(model, Hybrid)
    step = int(state.step)
    del state, arrays  # so that each kernel goes when its folded one has come
    if folded:
        fold(model)
    return TrainedModel(model, experiment.config, source.info, step)
