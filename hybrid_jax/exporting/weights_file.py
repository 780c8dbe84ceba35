"""`--mode=export`: writes a trained model as a file for vit_jax or timm."""

import pathlib

import jax
from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.pretrained.dialect import Preprocessing
from hybrid_jax.pretrained.save import save_pretrained
from hybrid_jax.train.checkpoints.recorded_source import recorded_source
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.state import merge_model


def export(
    config: ConfigDict, workdir: str, *, format: str, output: str | None = None
) -> pathlib.Path:
    """Writes a checkpoint in the layout of vit_jax (`npz`) or timm (`safetensors`).

    If the run has an averaged copy of the parameters (EMA), that copy is written, as in
    evaluation.

    Args:
        config: the config of the training run; `eval.restore` chooses "best" or "last".
        workdir: workdir of the training run.
        format: "npz" or "safetensors".
        output: the file; `<workdir>/export/model.<format>` if None.

    Returns:
        The path of the file.

    Raises:
        UserError: no checkpoint, a checkpoint of another model, other classes, or a model
            that the other library does not have.
    """
    path = epath.Path(workdir).expanduser().absolute()
    source = recorded_source(config, path)
    experiment, state = restored_run(config, path, source=source)
    config = experiment.config
    model = merge_model(experiment.graph, state.eval_params, state.mutable)
    assert isinstance(model, Hybrid)
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
