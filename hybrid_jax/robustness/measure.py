"""`--mode=robustness`: scores a trained model on changed images."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from hybrid_jax.contracts import Source
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.errors import UserError
from hybrid_jax.robustness.corruptions.levels import SEVERITIES
from hybrid_jax.robustness.held_batches import HeldBatches, fits_in_memory
from hybrid_jax.robustness.moving.known_truth import KnownTruth
from hybrid_jax.robustness.passes import Pass, passes_of
from hybrid_jax.robustness.results.plots import Runs, legend_names, write_plots
from hybrid_jax.robustness.results.record import Record, continued_record
from hybrid_jax.robustness.results.summary import compared, summary
from hybrid_jax.robustness.results.table import table
from hybrid_jax.robustness.score_passes import PassScorer
from hybrid_jax.robustness.settings import baseline_record, check_baseline, settings_of
from hybrid_jax.train.checkpoints.scored_run import scored_run
from hybrid_jax.train.checkpoints.workdir import write_whole
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.reporting.heartbeat import Heartbeat, print_above_bars

# Passes that one reading of data serves where it does not fit in memory.
_PASSES_PER_READING = 16


def measure_robustness(
    config: ConfigDict,
    workdir: str,
    *,
    suites: Sequence[str] = (),
    corruptions: Sequence[str] = (),
    severities: Sequence[str | int] = SEVERITIES,
    baselines: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores `config.eval.split` unchanged and under suites, with the task's main score.

    Passes that the workdir's record holds are not measured again.

    Args:
        config: the config of the training run; the hardware may differ.
        workdir: of the training run; `robustness.json`, `robustness.md`, the record,
            `robustness_passes.json`, and plots are written there.
        suites: names; none for all that suit the task, see `passes_of`.
        corruptions: names; none for all.
        severities: of the corruptions, 1 to 5.
        baselines: workdirs of runs that were measured before, for mCE.

    Returns:
        What `robustness.json` holds: `summary`, and what the run and its baselines are.

    Raises:
        UserError: an unknown suite, corruption or severity, several splits, a baseline
            that was not measured in the same way, or as in evaluation.
    """
    passes = passes_of(
        suites, task=config.task.name, corruptions=corruptions, severities=severities
    )
    _refuse_several_splits(config)
    others = {name: baseline_record(name) for name in baselines}
    path = epath.Path(workdir).expanduser().absolute()
    with Heartbeat(say=print_above_bars) as heartbeat:
        heartbeat.doing("opening the data and restoring the checkpoint")
        experiment, state, sources = scored_run(config, path)
        [(split, source)] = sources.items()
        settings = settings_of(experiment, state, split=split, count=len(source))
        for name, other in others.items():
            check_baseline(other, name=name, settings=settings, passes=passes)
        record = continued_record(path, settings)
        scorer = PassScorer(experiment, state, KnownTruth(source))
        _measure(scorer, source, record, passes, heartbeat=heartbeat)
    score, measured = experiment.task.main_score, (record, *others.values())
    runs = [summary(each.scores, passes, score=score) for each in measured]
    found = dict(
        {key: settings[key] for key in ("step", "split", "image_size", "levels_px")},
        task=experiment.config.task.name,
        data=experiment.config.data.name,
        **runs[0],
        baselines=_compared(runs[0], dict(zip(others, runs[1:], strict=True))),
    )
    if is_main_process():
        names = legend_names([str(path), *others])
        _write(path, found, runs=dict(zip(names, runs, strict=True)))
    return found


def _refuse_several_splits(config: ConfigDict) -> None:
    if "," in config.eval.split:
        raise UserError(
            f"config.eval.split: expected one split for --mode=robustness, got "
            f"{config.eval.split!r}."
        )


def _compared(own: Mapping[str, Any], others: Runs) -> list[dict[str, Any]]:
    return [dict(workdir=name) | compared(own, other) for name, other in others.items()]


def _measure(
    scorer: PassScorer,
    source: Source,
    record: Record,
    passes: Sequence[Pass],
    *,
    heartbeat: Heartbeat,
) -> None:
    """Scores the passes that the record lacks; it is written after each reading."""
    missing = record.missing(passes)
    experiment = scorer.experiment
    config, data = experiment.config, experiment.eval_data
    if is_main_process():
        known = len(passes) - len(missing)
        more = f", {known} of them measured before" if known else ""
        print(f"{len(passes)} passes over {len(source)} examples{more}", flush=True)
    processes = jax.process_count()
    held = fits_in_memory(len(source), data=data, process_count=processes)
    batches = HeldBatches(
        lambda: eval_batches(
            source,
            data=data,
            targets=experiment.task.targets,
            batch_size=config.eval.batch_size,
            process_index=jax.process_index(),
            process_count=processes,
        ),
        held=held,
    )
    size = 1 if held else _PASSES_PER_READING
    total = -(-len(source) // config.eval.batch_size) * len(missing)
    shown = config.log.progress and is_main_process() and sys.stderr.isatty()
    first = 0  # of the passes that are being measured

    def said() -> str:
        last = min(first + size, len(missing))
        some = f"pass {last}" if last == first + 1 else f"passes {first + 1} to {last}"
        return f"measuring {some} of {len(missing)}"

    with (
        heartbeat.during(said),
        tqdm(total=total, desc="robustness", leave=False, disable=not shown) as bar,
    ):
        for first in range(0, len(missing), size):
            some = missing[first : first + size]
            bar.set_postfix_str(f"{some[0].line} {some[0].strength:g}", refresh=False)
            record.add(scorer.scores(batches.stream(), some, advance=bar.update))


def _write(workdir: epath.Path, found: dict[str, Any], *, runs: Runs) -> None:
    text = table(found)
    write_whole(workdir / "robustness.json", json.dumps(found, indent=2) + "\n")
    write_whole(workdir / "robustness.md", text)
    print(text, end="", flush=True)
    for plot in write_plots(runs, workdir):
        print(f"wrote {plot}", flush=True)
