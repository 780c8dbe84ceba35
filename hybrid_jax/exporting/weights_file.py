"""A trained model as a file of weights for vit_jax or timm."""

import pathlib

import jax

from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.pretrained.dialect import Preprocessing
from hybrid_jax.pretrained.save import save_pretrained
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.state import TrainState, merge_model


def write_weights(
    experiment: Experiment, state: TrainState, file: pathlib.Path, *, format: str
) -> None:
    """Writes a checkpoint in the layout of vit_jax ("npz") or timm ("safetensors").

    Args:
        experiment: the run.
        state: its checkpoint.
        file: where to.
        format: "npz" or "safetensors".

    Raises:
        UserError: a model that the other library does not have.
    """
    config = experiment.config
    model = merge_model(experiment.graph, state.eval_params, state.mutable)
    assert isinstance(model, Hybrid)
    images = Preprocessing(
        normalization=config.model.normalization,
        interpolation=config.data.interpolation,
        eval_crop=config.data.eval_crop,
    )
    remarks = save_pretrained(model, file, format=format, preprocessing=images)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.eval_params))
    print(f"step {int(state.step)}: {count:,} parameters written to {file}")
    for remark in remarks:
        print(f"  {remark}", flush=True)
