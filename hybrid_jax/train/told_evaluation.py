"""The splits of a trained run, scored one after the other, with signs of life."""

from collections.abc import Callable, Mapping, Sequence

from etils import epath

from hybrid_jax.contracts import Source
from hybrid_jax.train.evaluation import Watcher, evaluate_split
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.reporting.counted_evaluation import CountedEvaluation
from hybrid_jax.train.reporting.heartbeat import Heartbeat, print_above_bars
from hybrid_jax.train.state import TrainState


def told_evaluations(
    experiment: Experiment,
    state: TrainState,
    sources: Mapping[str, Source],
    *,
    heartbeat: Heartbeat,
    written: Mapping[str, epath.Path] | None = None,
    watchers: Sequence[Watcher] = (),
    ended: Callable[[str, dict[str, float]], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Scores every split and says what takes long.

    Args:
        experiment: of the run.
        state: of the checkpoint.
        sources: by name of the split.
        heartbeat: is told what is being done.
        written: split -> path without suffix beside which results for other tools go.
        watchers: see the predictions.
        ended: is called with each split and its scores, at once.

    Returns:
        Scores by split.
    """
    config, eval_step = experiment.config, experiment.jitted_eval_step()
    results: dict[str, dict[str, float]] = {}
    for split, source in sources.items():
        counted = CountedEvaluation(
            eval_step,
            source,
            config=dict(config.eval, split=split),
            is_compiled=bool(results),
        )
        counted.begin(int(state.step), say=print_above_bars)
        with heartbeat.during(counted.words):
            results[split] = evaluate_split(
                counted,
                state,
                source,
                task=experiment.task,
                data=experiment.eval_data,
                batch_size=config.eval.batch_size,
                sharding=experiment.batch_sharding,
                progress=config.log.progress,
                written=None if written is None else written[split],
                watchers=watchers,
            )
        if ended is not None:
            ended(split, results[split])
    return results
