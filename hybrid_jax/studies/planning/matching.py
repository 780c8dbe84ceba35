"""Whether the variants of a study are of one size, and what would make them so."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from hybrid_jax.config import changed, resolve
from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import part_specs
from hybrid_jax.studies.planning.sizes import Size, SizeOf
from hybrid_jax.studies.settings import Study

_MOST_STEPS = 12  # of one knob in one direction; each is a trace of the model


@dataclasses.dataclass(frozen=True)
class _Knob:
    """A key that makes a model larger or smaller."""

    key: str
    value: int
    step: int


@dataclasses.dataclass(frozen=True)
class _Proposal:
    key: str
    value: int
    amount: float


@dataclasses.dataclass(frozen=True)
class _Search:
    """For the change of an experiment that has `now` of what should be `target`."""

    experiment: ConfigDict
    study: Study
    now: float
    target: float
    measure: SizeOf


def check_matched(
    study: Study, sizes: Mapping[str, Sequence[Size]], measure: SizeOf
) -> None:
    """Checks that no variant differs from its baseline by more than the tolerance.

    Args:
        study: what is compared.
        sizes: variant -> of the model with each setting; with times if they are matched.
        measure: gives the size of other models. Their times are expected to be in
            proportion to the multiply-accumulates, of one variant at different sizes.

    Raises:
        UserError: some do; names the nearest width or depth of each. Or a time that is to
            be matched is not known, because the probe failed.
    """
    if study.matched == "none":
        return
    faults = []
    for variant, of_settings in sizes.items():
        target = _amount(sizes[study.baselines[variant]][0], study)
        pairs = zip(study.settings[variant], of_settings, strict=True)
        for setting, size in pairs:
            amount = _amount(size, study)
            if abs(amount / target - 1) <= study.tolerance:
                continue
            experiment = study.experiment(variant, setting, seed=study.seeds[0])
            of_others = _timed(measure, size) if study.matched == "time" else measure
            nearest = _nearest(_Search(experiment, study, amount, target, of_others))
            faults.append(
                f"    {variant}: {_shown(amount, target, study)}; "
                f"{_said(nearest, target, study)}"
            )
            break
    if faults:
        names = dict.fromkeys(study.baselines.values())
        has = ", ".join(
            f"{name!r} has {_written(_amount(sizes[name][0], study), study)}"
            for name in names
        )
        lines = "\n".join(faults)
        raise UserError(
            f"config.study: the variants are not matched in {study.matched}; the baseline "
            f"{has}, and more than {study.tolerance:.0%} from it are:\n{lines}\n"
            f"  Change them, or study.tolerance, or set study.matched=none."
        )


def _amount(size: Size, study: Study) -> float:
    if study.matched != "time":
        return size.params if study.matched == "params" else size.macs
    if size.seconds_per_step is None:
        raise UserError(
            "config.study.matched: the time of a step is not known, because a probe "
            "failed. See probe/*/output.txt in the workdir, and study.retry_failed."
        )
    return size.seconds_per_step


def _timed(measure: SizeOf, known: Size) -> SizeOf:
    """Returns a measure that also expects a time, from that of one size of the model."""
    assert known.seconds_per_step is not None  # `_amount` was asked for it
    per_mac = known.seconds_per_step / known.macs

    def timed(experiment: ConfigDict) -> Size:
        size = measure(experiment)
        return dataclasses.replace(size, seconds_per_step=per_mac * size.macs)

    return timed


def _written(amount: float, study: Study) -> str:
    return f"{1e3 * amount:,.1f} ms" if study.matched == "time" else f"{amount:,}"


def _shown(amount: float, target: float, study: Study) -> str:
    return f"{_written(amount, study)} ({amount / target - 1:+.1%})"


def _said(proposal: _Proposal | None, target: float, study: Study) -> str:
    if proposal is None:
        return "no width or depth is nearer"
    expected = "an expected " if study.matched == "time" else ""
    amount = f"{expected}{_shown(proposal.amount, target, study)}"
    return f"nearest is {proposal.key}={proposal.value} with {amount}"


def _nearest(search: _Search) -> _Proposal | None:
    """Returns the one change of a width or a depth that comes nearest, if any helps."""
    best = None
    for knob in _knobs(search.experiment):
        for proposal in _walk(search, knob):
            distance = abs(proposal.amount - search.target)
            if distance < abs((best.amount if best else search.now) - search.target):
                best = proposal
    return best


def _walk(search: _Search, knob: _Knob) -> list[_Proposal]:
    """Turns one knob towards the target until it is passed."""
    last = search.now
    sign = 1 if last < search.target else -1
    found = []
    for count in range(1, _MOST_STEPS + 1):
        value = knob.value + sign * count * knob.step
        if value < 1:
            break
        experiment = changed(search.experiment, {knob.key: value})
        try:
            amount = _amount(search.measure(experiment), search.study)
        except ValueError:
            continue  # a width that the groups or heads of this model do not divide
        if amount == last:
            break  # a part that this model does not have
        found.append(_Proposal(knob.key, value, amount))
        last = amount
        if (amount - search.target) * sign >= 0:
            break
    return found


def _knobs(experiment: ConfigDict) -> list[_Knob]:
    resnet, vit = part_specs(resolve(experiment, on_cpu=True).model)
    # Positions from sines take four numbers for each frequency.
    head_step = math.lcm(vit.num_heads, 4)
    return [
        _Knob("model.vit_options.depth", vit.depth, 1),
        _Knob("model.vit_options.width", vit.width, head_step),
        _Knob("model.resnet_options.width", resnet.width, 8),
    ]
