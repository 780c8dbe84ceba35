"""`--mode=export`: a trained model as a file for other libraries or as a program."""

import pathlib

import jax
from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.config import changed
from hybrid_jax.contracts import Source
from hybrid_jax.errors import UserError
from hybrid_jax.exporting.model_card import RunFacts, facts_of
from hybrid_jax.exporting.program import network_program, whole_program
from hybrid_jax.exporting.program_folder import PROGRAM_FORMATS, write_program
from hybrid_jax.exporting.weights_file import write_weights
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.models.layers.folding import fold
from hybrid_jax.train.checkpoints.recorded_source import recorded_source
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.state import TrainState, merge_model


def export_run(
    config: ConfigDict,
    workdir: str,
    *,
    format: str,
    output: str | None = None,
    program: str = "network",
) -> pathlib.Path:
    """Writes a checkpoint as a file of weights, or as a program with its weights.

    If the run has an averaged copy of the parameters (EMA), that copy is written, as in
    evaluation. Programs are folded for inference, see `models/layers/folding.py`.

    Args:
        config: the config of the training run; `eval.restore` chooses "best" or "last".
        workdir: workdir of the training run.
        format: "npz" (vit_jax's layout) or "safetensors" (timm's) for weights; "stablehlo"
            or "onnx" for a program.
        output: the file of weights, `<workdir>/export/model.<format>` if None; or the
            folder of the program, `<workdir>/export/<format>` if None.
        program: "network" for normalized images to the head's outputs; "whole" for images
            of any size to predictions, with preprocessing and decoding inside.

    Returns:
        The path of the file, or of the folder.

    Raises:
        UserError: no checkpoint, a checkpoint of another model, other classes, a model that
            the other library does not have, or one that ONNX has no operations for.
    """
    if (format, program) == ("onnx", "whole"):
        raise UserError(
            "--program: expected 'network' for --format=onnx, got 'whole': resizing and "
            "decoding are left to whoever runs the file. --format=stablehlo has both."
        )
    path = epath.Path(workdir).expanduser().absolute()
    source = recorded_source(config, path)
    experiment, state = restored_run(config, path, source=source)
    here = pathlib.Path(path) / "export"
    if format not in PROGRAM_FORMATS:
        file = pathlib.Path(output or here / f"model.{format}").expanduser()
        if is_main_process():
            write_weights(experiment, state, file, format=format)
        return file
    folder = pathlib.Path(output or here / format).expanduser()
    if is_main_process():
        model = _folded_model(experiment, state)
        facts = _facts(experiment, state, source, workdir=path)
        size = {"data.image_size": experiment.eval_data.image_size}
        resolved = changed(experiment.config, size)
        if program == "whole":
            made = whole_program(model, resolved, source.info)
        else:
            made = network_program(model, image_hw=tuple(resolved.data.image_size))
        shape = write_program(made, folder, format=format, model=model, facts=facts)
        _tell(facts, folder, images=f"{shape} {made.dtype}")
    return folder


def _facts(
    experiment: Experiment, state: TrainState, source: Source, *, workdir: epath.Path
) -> RunFacts:
    return facts_of(
        experiment.config,
        workdir,
        info=source.info,
        params=state.eval_params,
        train_examples=len(source),
        step=int(state.step),
    )


def _folded_model(experiment: Experiment, state: TrainState) -> Hybrid:
    # A program has no place for shards: each array comes whole to one device.
    arrays = jax.device_put((state.eval_params, state.mutable), jax.local_devices()[0])
    model = merge_model(experiment.graph, *arrays)
    assert isinstance(model, Hybrid)
    fold(model)
    return model


def _tell(facts: RunFacts, folder: pathlib.Path, *, images: str) -> None:
    size_mib = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    print(f"step {facts.step}: {facts.parameters:,} parameters written to {folder}")
    print(f"  images: {images}; {size_mib:.1f} MiB in all", flush=True)
