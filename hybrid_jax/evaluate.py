"""`--mode=evaluate`: scores a trained model on any split of its data."""

import json
from collections.abc import Mapping

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.config.splits_read import eval_splits
from hybrid_jax.data.sources import open_split
from hybrid_jax.train.checkpoints.dataset_record import read_record, say_unrecorded
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.evaluation import evaluate_split
from hybrid_jax.train.parallel.distributed import is_main_process


def evaluate(config: ConfigDict, workdir: str) -> dict[str, dict[str, float]]:
    """Restores a checkpoint and scores `config.eval.split` with it.

    Args:
        config: the config of the training run; the hardware may differ. `eval.split` may
            be several splits, separated by commas; `eval.restore` is "best" or "last".
        workdir: workdir of the training run; `evaluation_<split>.json` is written there.

    Returns:
        Scores by split.

    Raises:
        UserError: no checkpoint, a checkpoint of another model, other classes, or an
            unknown split.
    """
    path = epath.Path(workdir).expanduser().absolute()
    sources = {s: open_split(config.data, split=s) for s in eval_splits(config)}
    train_source = open_split(config.data, split=config.data.train_split)
    record = read_record(path)
    if record is None:
        say_unrecorded(path, classes="are taken to be those that the data has now")
    else:
        for source in (train_source, *sources.values()):
            record.check_classes(source.info, workdir=path, data=config.data.name)
    experiment, state = restored_run(config, path, source=train_source)
    config = experiment.config
    step = int(state.step)
    if is_main_process():
        print(f"scoring the {config.eval.restore} checkpoint (config.eval.restore)")
        for note in dict.fromkeys(n for s in sources.values() for n in s.info.notes):
            print(f"data: {note}")
    eval_step = experiment.jitted_eval_step()
    results = {}
    for split, source in sources.items():
        results[split] = evaluate_split(
            eval_step,
            state,
            source,
            task=experiment.task,
            data=experiment.eval_data,
            batch_size=config.eval.batch_size,
            sharding=experiment.batch_sharding,
            progress=config.log.progress,
            written=path / f"evaluation_{split}",
        )
        if is_main_process():
            _record(path, step, split, results[split])
    return results


def _record(workdir: epath.Path, step: int, split: str, scores: dict[str, float]) -> None:
    text = json.dumps(dict(step=step, split=split, **scores), indent=2) + "\n"
    (workdir / f"evaluation_{split}.json").write_text(text)
    print(f"step {step}  {split}:\n{_table(scores)}", flush=True)


def _table(scores: Mapping[str, float]) -> str:
    """Returns a line for each score, then a table of the scores of each class."""
    main = {name: value for name, value in scores.items() if "/" not in name}
    width = max(16, *map(len, main))
    lines = [f"  {name:{width}} {_shown(value)}" for name, value in main.items()]
    by_class: dict[str, dict[str, str]] = {}  # class -> kind of score -> its value
    for name, value in scores.items():
        kind, slash, of_class = name.partition("/")
        if slash:
            by_class.setdefault(of_class, {})[kind] = _shown(value)
    if by_class:
        kinds = dict.fromkeys(kind for row in by_class.values() for kind in row)
        width = max(16, *map(len, by_class))
        lines.append(f"  {'':{width}}" + "".join(f" {kind:>7}" for kind in kinds))
        for of_class, row in by_class.items():
            values = "".join(f" {row.get(kind, ''):>7}" for kind in kinds)
            lines.append(f"  {of_class:{width}}{values}")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
