"""How large the models of a study are."""

import dataclasses
import json
from collections.abc import Callable

from ml_collections import ConfigDict

from hybrid_jax.profiling.profile import describe
from hybrid_jax.studies.settings import Study


@dataclasses.dataclass(frozen=True)
class Size:
    """What a model costs.

    Attributes:
        params: parameters.
        macs: multiply-accumulates of one forward pass of one image.
        seconds_per_step: of training, where it was measured.
    """

    params: int
    macs: int
    seconds_per_step: float | None = None


SizeOf = Callable[[ConfigDict], Size]


def size_of(experiment: ConfigDict) -> Size:
    """Returns the size of an experiment's model, which is traced and not built.

    Raises:
        UserError: see `describe`.
    """
    description = describe(experiment, platform="cpu", devices=1)
    return Size(description.total_params, description.total_macs)


def sizes_of(study: Study, measure: SizeOf) -> dict[str, tuple[Size, ...]]:
    """Returns variant -> the size with each of its settings."""
    known: dict[str, Size] = {}

    def measured(experiment: ConfigDict) -> Size:
        # A rate does not change the size, and most grids are of rates.
        kept = [experiment.model.to_dict(), experiment.data.to_dict()]
        key = json.dumps([*kept, experiment.task.to_dict()], sort_keys=True)
        if key not in known:
            known[key] = measure(experiment)
        return known[key]

    return {
        variant: tuple(
            measured(study.experiment(variant, setting, seed=study.seeds[0]))
            for setting in study.settings[variant]
        )
        for variant in study.variants
    }
