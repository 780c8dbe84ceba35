"""How much arithmetic a study takes, counted from the sizes of its models and data."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import FrozenConfigDict

from hybrid_jax.config import resolve
from hybrid_jax.robustness.passes import CLEAN, passes_of
from hybrid_jax.robustness.suites import SUITES
from hybrid_jax.studies.planning.readiness import Lengths
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.settings import Study

_PER_MAC = 2  # a multiplication and an addition
_GRADIENT = 3  # forward passes that one with its gradients costs
HOW = (
    "counted as 2 for each multiply-accumulate of a forward pass, a gradient as three "
    "passes, also of parts that are frozen; images of another size by their px"
)


@dataclasses.dataclass(frozen=True)
class Flops:
    """Floating-point operations.

    Attributes:
        training: of all optimizer steps.
        validation: of the evaluations on the way.
        scoring: of the test split, the further evaluations and the suites.
    """

    training: float = 0.0
    validation: float = 0.0
    scoring: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.training + self.validation + self.scoring


def flops_of(
    study: Study, sizes: Mapping[str, Sequence[Size]], lengths: Lengths
) -> dict[str, Flops]:
    """Returns variant -> the operations of its trials, its further seeds and its scoring.

    The chosen setting is not known yet; the first stands for it.
    """
    found = {}
    for name, settings in study.settings.items():
        runs = [*zip(settings, sizes[name], strict=True)]
        runs += [runs[0]] * (len(study.seeds) - 1)
        training = validation = 0.0
        for setting, size in runs:
            config = resolved(study, name, setting, lengths=lengths)
            forward = _PER_MAC * size.macs
            training += _GRADIENT * forward * config.train.steps * config.train.batch_size
            times = math.ceil(config.train.steps / config.eval.every)
            validation += forward * times * lengths.validation[name] * _share_of_px(config)
        scoring = _PER_MAC * sizes[name][0].macs * _passes(study, name, lengths)
        found[name] = Flops(training, validation, len(study.seeds) * scoring)
    return found


def resolved(
    study: Study, variant: str, changes: Mapping[str, Any], *, lengths: Lengths
) -> FrozenConfigDict:
    """Returns the experiment of a run or an evaluation, with its number of steps."""
    return resolve(
        study.experiment(variant, changes, seed=study.seeds[0]),
        on_cpu=True,
        num_train_examples=lengths.train[variant],
    )


def _passes(study: Study, variant: str, lengths: Lengths) -> float:
    """Returns how many forward passes of one image the scorings of a run take."""
    passes = 0.0
    for evaluation, changes in study.evaluations.items():
        share = _share_of_px(resolved(study, variant, changes, lengths=lengths))
        passes += share * lengths.scored[variant][evaluation]
    if not (study.suites or study.localization):
        return passes
    share = _share_of_px(resolved(study, variant, {}, lengths=lengths))
    images = share * lengths.scored[variant][study.test_split]
    passes += images * _GRADIENT * study.localization
    if not study.suites:  # which would be all of them
        return passes
    for suite, line, _ in passes_of(study.suites, task=study.base["task"]["name"]):
        gradients = 0 if suite == CLEAN.suite else SUITES.get(suite).gradients.get(line, 0)
        passes += images * (1 + _GRADIENT * gradients)
    return passes


def _share_of_px(config: FrozenConfigDict) -> float:
    """Returns the px of an image of evaluation, as a share of those of training."""
    size = config.eval.image_size
    return math.prod(size) / math.prod(config.data.image_size) if size else 1.0
