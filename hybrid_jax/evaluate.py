"""`--mode=evaluate`: the scores of a trained model on any split of its data."""

import json

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoint import Checkpoints
from hybrid_jax.train.distributed import is_main_process
from hybrid_jax.train.evaluation import evaluate_split
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.workdir import check_same_run


def evaluate(config: ConfigDict, workdir: str) -> dict[str, dict[str, float]]:
    """Restores a checkpoint and scores `config.eval.split` with it.

    Args:
        config: the one the workdir was trained with; `eval.split` may name several
            splits, separated by commas; `eval.restore` is "best" or "last".
        workdir: of the training run. `evaluation_<split>.json` is written there.

    Returns:
        Scores by split.

    Raises:
        UserError: no checkpoint, another model's checkpoint, or an unknown split.
    """
    path = epath.Path(workdir).expanduser().absolute()
    splits = [split.strip() for split in config.eval.split.split(",")]
    sources = {split: open_source(config.data.name, split=split) for split in splits}
    experiment = prepare(config)
    config = experiment.config
    check_same_run(path, config)
    if not (path / "checkpoints").exists():
        raise UserError(
            f"{path} has no checkpoints. Train first (--mode=train with the same --config "
            f"and --workdir), or name the workdir of a finished run."
        )
    checkpoints = Checkpoints(
        path,
        keep=config.checkpoint.keep,
        best_metric=config.checkpoint.best_metric,
        read_only=True,
    )
    try:
        state = checkpoints.restore(
            experiment.shapes, experiment.shardings, which=config.eval.restore
        )
    finally:
        checkpoints.close()
    if state is None:
        raise UserError(f"{path / 'checkpoints'} is empty: the run has saved nothing yet.")
    step = int(state.step)
    eval_step = experiment.jitted_eval_step()
    results = {}
    for split, source in sources.items():
        results[split] = evaluate_split(
            eval_step,
            state,
            source,
            experiment.task,
            data=config.data,
            batch_size=config.eval.batch_size,
            sharding=experiment.batch_sharding,
            progress=config.log.progress,
        )
        if is_main_process():
            record = dict(step=step, split=split, **results[split])
            text = json.dumps(record, indent=2) + "\n"
            (path / f"evaluation_{split}.json").write_text(text)
            print(f"step {step}  {split}:", flush=True)
            for name, value in results[split].items():
                print(
                    f"  {name:16} {value:.4f}"
                    if isinstance(value, float)
                    else f"  {name:16} {value}",
                    flush=True,
                )
    return results
