"""`--mode=robustness`: scores a trained model on corrupted images."""

import json
from collections.abc import Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.errors import UserError
from hybrid_jax.robustness.corruptions import CORRUPTIONS, check_choice
from hybrid_jax.robustness.corruptions.levels import SEVERITIES, table_side
from hybrid_jax.robustness.passes import passes_of, score_passes
from hybrid_jax.robustness.summary import compared, summary
from hybrid_jax.robustness.table import table
from hybrid_jax.train.checkpoints.scored_run import scored_run
from hybrid_jax.train.parallel.distributed import is_main_process

_FILE = "robustness.json"


def measure_robustness(
    config: ConfigDict,
    workdir: str,
    *,
    corruptions: Sequence[str] = (),
    severities: Sequence[str | int] = SEVERITIES,
    baseline: str | None = None,
) -> dict[str, Any]:
    """Scores `config.eval.split` clean and under corruptions, with the task's main score.

    Args:
        config: the config of the training run; the hardware may differ.
        workdir: of the training run; `robustness.json` and `robustness.md` are written
            there.
        corruptions: names; none for all.
        severities: of 1 to 5.
        baseline: workdir of a run that was measured before, for mCE.

    Returns:
        What `robustness.json` holds, see `summary` and `compared`.

    Raises:
        UserError: an unknown corruption or severity, several splits, a baseline that was
            not measured in the same way, or as in evaluation.
    """
    names = list(dict.fromkeys(corruptions)) or list(CORRUPTIONS)
    numbers = sorted({_number(severity) for severity in severities})
    check_choice(names, numbers)
    if not numbers:
        raise UserError("--severities: expected at least one of 1, 2, 3, 4, 5, got none.")
    if "," in config.eval.split:
        raise UserError(
            f"config.eval.split: expected one split for --mode=robustness, got "
            f"{config.eval.split!r}."
        )
    other = _measured(baseline) if baseline else None
    path = epath.Path(workdir).expanduser().absolute()
    experiment, state, sources = scored_run(config, path)
    [(split, source)] = sources.items()
    passes = passes_of(names, numbers)
    if is_main_process():
        print(f"{len(passes)} passes over {len(source)} examples of {split}", flush=True)
    scores = score_passes(experiment, state, source, passes=passes)
    size = experiment.eval_data.image_size
    found = dict(
        step=int(state.step),
        task=experiment.config.task.name,
        data=experiment.config.data.name,
        split=split,
        image_size=list(size),
        levels_px=table_side(tuple(size)),
    ) | summary(scores, score=experiment.task.main_score, severities=numbers)
    if other is not None:
        relative = compared(found, other, baseline=epath.Path(str(baseline)))
        found["baseline"] = dict(workdir=str(baseline)) | relative
    if is_main_process():
        _write(path, found)
    return found


def _write(workdir: epath.Path, found: dict[str, Any]) -> None:
    text = table(found)
    (workdir / _FILE).write_text(json.dumps(found, indent=2) + "\n")
    (workdir / "robustness.md").write_text(text)
    print(text, end="", flush=True)


def _number(severity: str | int) -> int:
    try:
        return int(severity)
    except ValueError:
        raise UserError(
            f"--severities: expected numbers of 1 to 5, got {severity!r}."
        ) from None


def _measured(baseline: str) -> dict[str, Any]:
    """Returns what was measured for a run before.

    Raises:
        UserError: nothing.
    """
    path = epath.Path(baseline).expanduser().absolute() / _FILE
    if not path.exists():
        raise UserError(
            f"--baseline: there is no {path}. Measure that run first: --mode=robustness "
            f"with its --config and --workdir={baseline}."
        )
    return json.loads(path.read_text())
