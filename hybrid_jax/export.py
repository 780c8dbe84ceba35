"""`--mode=export`: a trained model as one file that other libraries open."""

import pathlib

import jax
from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.pretrained.dialect import Preprocessing
from hybrid_jax.pretrained.save import save_pretrained
from hybrid_jax.train.checkpoints.recorded_source import recorded_source
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.state import merge_model


def export(
    config: ConfigDict, workdir: str, *, format: str, output: str | None = None
) -> pathlib.Path:
    """Writes a checkpoint of a run in vit_jax's (`npz`) or timm's (`safetensors`) layout.

    The averaged copy of the parameters is written where there is one, as it is what
    evaluation scores.

    Args:
        config: the one the workdir was trained with; `eval.restore` chooses "best" or
            "last".
        workdir: of the training run.
        format: "npz" or "safetensors".
        output: the file; `<workdir>/export/model.<format>` if None.

    Returns:
        The file written.

    Raises:
        UserError: no checkpoint, another model's, other classes, or a model that other
            libraries do not have.
    """
    path = epath.Path(workdir).expanduser().absolute()
    source = recorded_source(config, path)
    experiment, state = restored_run(config, path, source=source)
    config = experiment.config
    model = merge_model(experiment.graph, state.eval_params, state.mutable)
    file = pathlib.Path(output or pathlib.Path(path) / "export" / f"model.{format}")
    images = Preprocessing(
        normalization=config.model.normalization,
        interpolation=config.data.interpolation,
        eval_crop=config.data.eval_crop,
    )
    if is_main_process():
        remarks = save_pretrained(model, file, format=format, preprocessing=images)
        count = sum(leaf.size for leaf in jax.tree.leaves(state.eval_params))
        print(f"step {int(state.step)}: {count:,} parameters written to {file}")
        for remark in remarks:
            print(f"  {remark}", flush=True)
    return file
