"""The runs of a study: which there are, and what they are called."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.studies.running.changed_experiment import differences
from hybrid_jax.studies.settings import Study

# They alter no number of a run, so they are no part of its name.
_NOT_NAMED = ("log.", "profile.", "data.workers", "data.threads", "data.prefetch")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: of its folder; the same for the same experiment, whatever else is planned.
        variant: name.
        setting: dotted changes that are tuned.
        seed: of the experiment.
        experiment: complete.
    """

    name: str
    variant: str
    setting: Mapping[str, Any]
    seed: int
    experiment: ConfigDict


def trials(study: Study) -> list[Run]:
    """Returns the runs that a setting is chosen by: all settings with the first seed."""
    columns = zip(*study.settings.values(), strict=True)
    return [
        _run(study, variant, setting, seed=study.seeds[0])
        for column in columns
        for variant, setting in zip(study.variants, column, strict=True)
    ]


def finals(study: Study, chosen: Mapping[str, Mapping[str, Any] | None]) -> list[Run]:
    """Returns the chosen setting of each variant with every seed.

    The first seed's run is a trial, under the same name.

    Args:
        chosen: variant -> setting; None for one of which no trial was finished.
    """
    return [
        _run(study, variant, setting, seed=seed)
        for seed in study.seeds
        for variant, setting in chosen.items()
        if setting is not None
    ]


def number_of_runs(study: Study) -> int:
    """Returns how many different runs the study has if every variant has a setting."""
    tried = sum(len(settings) for settings in study.settings.values())
    return tried + len(study.variants) * (len(study.seeds) - 1)


def own_first(runs: Iterable[Run], shard: tuple[int, int]) -> list[Run]:
    """Returns the runs with those of the `i`-th of `n` shards in front."""
    i, n = shard
    numbered = sorted(enumerate(runs), key=lambda pair: pair[0] % n != i - 1)
    return [run for _, run in numbered]


def _run(study: Study, variant: str, setting: Mapping[str, Any], *, seed: int) -> Run:
    experiment = study.experiment(variant, setting, seed=seed)
    named = {
        key: value
        for key, value in differences(experiment).items()
        if not key.startswith(_NOT_NAMED)
    }
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
    return Run(f"{variant}-{digest[:10]}", variant, setting, seed, experiment)
