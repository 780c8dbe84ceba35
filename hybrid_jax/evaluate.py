"""`--mode=evaluate`: scores a trained model on any split of its data."""

import json
from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.config.splits_read import eval_splits
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.scored_run import scored_run
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.reporting.heartbeat import Heartbeat, print_above_bars
from hybrid_jax.train.told_evaluation import told_evaluations


def evaluate(
    config: ConfigDict, workdir: str, *, output: str | None = None
) -> dict[str, dict[str, float]]:
    """Restores a checkpoint and scores `config.eval.split` with it.

    Args:
        config: the config of the training run; the hardware may differ. `eval.split` may
            be several splits, separated by commas; `eval.restore` is "best" or "last".
        workdir: workdir of the training run; `evaluation_<split>.json` is written there.
        output: another file for the scores of one split, `NAME.json`.

    Returns:
        Scores by split.

    Raises:
        UserError: no checkpoint, a checkpoint of another model, other classes, an unknown
            split, or several splits for one output.
    """
    if output and (len(eval_splits(config)) > 1 or not output.endswith(".json")):
        raise UserError(
            f"--output: expected a file NAME.json for the scores of one split, got "
            f"{output!r} for {config.eval.split!r}."
        )
    path = epath.Path(workdir).expanduser().absolute()
    with Heartbeat(say=print_above_bars) as heartbeat:
        heartbeat.doing("opening the data and restoring the checkpoint")
        experiment, state, sources = scored_run(config, path)
        heartbeat.doing(None)
        stems = {split: path / f"evaluation_{split}" for split in sources}
        if output:
            file = epath.Path(output.removesuffix(".json")).expanduser().absolute()
            stems = dict.fromkeys(stems, file)

        def ended(split: str, scores: dict[str, float]) -> None:
            if is_main_process():
                _record(stems[split], dict(step=int(state.step), split=split), scores)

        return told_evaluations(
            experiment, state, sources, heartbeat=heartbeat, written=stems, ended=ended
        )


def _record(stem: epath.Path, of: dict[str, Any], scores: dict[str, float]) -> None:
    text = json.dumps(dict(**of, **scores), indent=2) + "\n"
    (stem.parent / f"{stem.name}.json").write_text(text)
    print(f"step {of['step']}  {of['split']}:\n{_table(scores)}", flush=True)


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
