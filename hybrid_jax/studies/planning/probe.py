"""How long a step and a run of each variant take, from a few steps of each."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.config import changed
from hybrid_jax.studies.planning.plan import Run, trials
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.running.job import training
from hybrid_jax.studies.running.run_lock import RunLock, holder
from hybrid_jax.studies.running.runner import Runner
from hybrid_jax.studies.settings import Study

STEPS = 20
_POLL_SECONDS = 0.5
# Tuned keys that leave the time of a step alone, and those that the size tells of. A norm
# or what is recomputed changes the time of a model of the same size.
_SAME_TIME = (
    "optimizer.learning_rate",
    "optimizer.schedule",
    "optimizer.warmup_fraction",
    "optimizer.cooldown_fraction",
    "optimizer.weight_decay",
    "train.steps",
    "train.epochs",
    "model.resnet_options.blocks",
    "model.resnet_options.width",
    "model.vit_options.depth",
    "model.vit_options.mlp_dim",
    "model.vit_options.patch_size",
    "model.vit_options.width",
    "model.fusion_options.",
)
# Variant, size, and what else of its setting decides the time of a step.
_Kind = tuple[str, Size, str]


@dataclasses.dataclass(frozen=True)
class StepTime:
    """What a probe has measured.

    Attributes:
        start: seconds before the second step, compilation included.
        step: seconds per step after it, without evaluations and saves.
    """

    start: float
    step: float


# Variant -> of each setting; None where the probe failed.
StepTimes = Mapping[str, Sequence[StepTime | None]]


def step_times(
    study: Study,
    workdir: pathlib.Path,
    runner: Runner,
    *,
    sizes: Mapping[str, Sequence[Size]],
) -> StepTimes:
    """Trains models of the study for 20 steps each and returns what their steps take.

    A variant has one probe for each size of its settings, and for settings that train
    models of one size in different ways, such as other batches, another norm or a part
    frozen. Results stay in the folder `probe` of the workdir and are not measured again.
    One process measures all of them, so that they are of one machine, and others on the
    workdir wait for it. As many probes run at a time as runs will.
    """
    firsts = _first_of_each_kind(study, sizes)
    jobs = {
        key: training(_short(run), study, workdir / "probe") for key, run in firsts.items()
    }
    if any(job.result() is None for job in jobs.values()):
        lock = _waited_for(workdir / "probe")
        try:
            results = runner.run(list(jobs.values()))
        finally:
            lock.close()
    else:
        results = runner.run(list(jobs.values()))
    found = {key: _read(result) for key, result in zip(jobs, results, strict=True)}
    return {
        variant: [
            found[_kind(variant, size, setting)]
            for size, setting in zip(sizes[variant], study.settings[variant], strict=True)
        ]
        for variant in study.variants
    }


def with_times(
    sizes: Mapping[str, Sequence[Size]], times: StepTimes
) -> dict[str, tuple[Size, ...]]:
    """Returns sizes that also tell the time of a step, where it is known."""
    return {
        variant: tuple(
            dataclasses.replace(size, seconds_per_step=time and time.step)
            for size, time in zip(sizes[variant], times[variant], strict=True)
        )
        for variant in sizes
    }


def expected_seconds(
    study: Study, times: StepTimes, steps: Mapping[str, int]
) -> dict[str, float | None]:
    """Returns variant -> seconds of a run of its first setting, without evaluations.

    Args:
        study: what is compared.
        times: of the probes.
        steps: variant -> of a run.
    """
    firsts = {name: times[name][0] for name in study.variants}
    return {
        name: None if first is None else first.start + steps[name] * first.step
        for name, first in firsts.items()
    }


def _first_of_each_kind(
    study: Study, sizes: Mapping[str, Sequence[Size]]
) -> dict[_Kind, Run]:
    firsts: dict[_Kind, Run] = {}
    for run in trials(study):
        size = sizes[run.variant][study.settings[run.variant].index(run.setting)]
        firsts.setdefault(_kind(run.variant, size, run.setting), run)
    return firsts


def _kind(variant: str, size: Size, setting: Mapping[str, Any]) -> _Kind:
    rest = {k: v for k, v in setting.items() if not k.startswith(_SAME_TIME)}
    return variant, size, json.dumps(rest, sort_keys=True)


def _waited_for(folder: pathlib.Path) -> RunLock:
    """Returns the lock of a folder when no other process has it."""
    said = False
    while (lock := RunLock.take(folder)) is None:
        if not said:
            print(f"waiting for the probes that {holder(folder)} measures", flush=True)
        said = True
        time.sleep(_POLL_SECONDS)
    return lock


def _read(result: Mapping[str, Any]) -> StepTime | None:
    measured = result["time"]
    speed = measured.get("images_per_second")
    if not speed:
        return None
    start = measured["seconds_to_start"] + measured["seconds_first_step"]
    return StepTime(start, measured["batch_size"] / speed)


def _short(run: Run) -> Run:
    values = {
        "train.steps": STEPS,
        "log.every": STEPS,
        "eval.every": STEPS,
        "checkpoint.every": STEPS,
    }
    experiment = changed(run.experiment, values)
    return Run(run.name, run.variant, run.setting, run.seed, experiment)
