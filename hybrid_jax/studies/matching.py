"""Whether the variants of a study are of one size, and what would make them so."""

import dataclasses
import math
from collections.abc import Mapping

from ml_collections import ConfigDict

from hybrid_jax.config import changed, resolve
from hybrid_jax.errors import UserError
from hybrid_jax.models.hybrid import part_specs
from hybrid_jax.studies.settings import Study
from hybrid_jax.studies.sizes import Size, SizeOf

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
    amount: int


@dataclasses.dataclass(frozen=True)
class _Search:
    """For the change of an experiment that has `now` of what should be `target`."""

    experiment: ConfigDict
    study: Study
    now: int
    target: int
    measure: SizeOf


def check_matched(
    study: Study, sizes: Mapping[str, tuple[Size, ...]], measure: SizeOf
) -> None:
    """Checks that no variant differs from the baseline by more than the tolerance.

    Raises:
        UserError: some do; names the nearest width or depth of each.
    """
    if study.matched == "none":
        return
    target = _amount(sizes[study.baseline][0], study)
    faults = []
    for variant, of_settings in sizes.items():
        pairs = zip(study.settings[variant], of_settings, strict=True)
        for setting, size in pairs:
            amount = _amount(size, study)
            if abs(amount / target - 1) <= study.tolerance:
                continue
            experiment = study.experiment(variant, setting, seed=study.seeds[0])
            search = _Search(experiment, study, amount, target, measure)
            nearest = _nearest(search)
            faults.append(
                f"    {variant}: {_shown(amount, target)}; {_said(nearest, target)}"
            )
            break
    if faults:
        lines = "\n".join(faults)
        raise UserError(
            f"config.study: the variants are not matched in {study.matched}; the baseline "
            f"{study.baseline!r} has {target:,}, and more than "
            f"{study.tolerance:.0%} from it are:\n{lines}\n"
            f"  Change them, or study.tolerance, or set study.matched=none."
        )


def _amount(size: Size, study: Study) -> int:
    return size.params if study.matched == "params" else size.macs


def _shown(amount: int, target: int) -> str:
    return f"{amount:,} ({amount / target - 1:+.1%})"


def _said(proposal: _Proposal | None, target: int) -> str:
    if proposal is None:
        return "no width or depth is nearer"
    amount = _shown(proposal.amount, target)
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
