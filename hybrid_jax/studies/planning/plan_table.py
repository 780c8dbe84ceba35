"""The plan of a study: its variants, what they cost, and how long all of it takes."""

from collections.abc import Mapping, Sequence

from hybrid_jax.plot_look import ABSENT, has_matplotlib
from hybrid_jax.studies.planning.flops import HOW, flops_of, resolved
from hybrid_jax.studies.planning.plan import number_of_runs
from hybrid_jax.studies.planning.probe import StepTimes, expected_seconds
from hybrid_jax.studies.planning.readiness import Lengths
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.settings import Study


def plan_rows(
    study: Study, sizes: Mapping[str, Sequence[Size]], lengths: Lengths | None
) -> list[list[str]]:
    """Returns a header and a row for each variant, of the model with its first setting."""
    measured = any(row[0].seconds_per_step for row in sizes.values())
    header = ["variant", "params", "GMAC", *["ms/step"] * measured, "trials"]
    rows = [[*header, *["TFLOP"] * (lengths is not None)]]
    flops = flops_of(study, sizes, lengths) if lengths else {}
    for name in study.variants:
        size, baseline = sizes[name][0], study.baselines[name] == name
        row = [f"{name}{' (baseline)' * baseline}", f"{size.params:,}"]
        row.append(f"{size.macs / 1e9:.4f}")
        if measured:
            seconds = size.seconds_per_step
            row.append("failed" if seconds is None else f"{1e3 * seconds:.1f}")
        row.append(str(len(study.settings[name])))
        if flops:
            row.append(f"{flops[name].total / 1e12:,.1f}")
        rows.append(row)
    return rows


def plan_notes(
    study: Study,
    sizes: Mapping[str, Sequence[Size]],
    lengths: Lengths | None,
    *,
    times: StepTimes | None,
    fault: str,
) -> list[str]:
    """Returns the number of runs, their arithmetic and their time, a line each."""
    seeds = f"seed{'s' * (len(study.seeds) > 1)} {', '.join(map(str, study.seeds))}"
    notes = [
        f"{number_of_runs(study)} runs, {study.jobs} at a time: trials with seed "
        f"{study.seeds[0]} on {study.validation_split!r}, the best of each variant with "
        f"{seeds}, then {study.test_split!r} once"
    ]
    if not has_matplotlib():
        notes.append(ABSENT)
    if lengths is None:
        unknown = "arithmetic and time are not known, nor the classes that sizes depend on"
        return [*notes, f"{unknown}: {fault}"]
    notes += [_data_line(study, lengths), *(f"data: {note}" for note in lengths.notes)]
    found = flops_of(study, sizes, lengths).values()
    kinds = ("training", "validation", "scoring")
    parts = {kind: sum(getattr(one, kind) for one in found) / 1e12 for kind in kinds}
    said = ", ".join(f"{kind} {tera:,.1f}" for kind, tera in parts.items())
    notes.append(f"{sum(parts.values()):,.1f} TFLOP in all ({said}), {HOW}")
    if times is None:
        return [*notes, "time is not known; --config.study.probe measures it"]
    steps = {
        name: resolved(study, name, study.settings[name][0], lengths=lengths).train.steps
        for name in study.variants
    }
    of_run = expected_seconds(study, times, steps)
    notes += [
        f"a run of {variant}: {'the probe failed' if s is None else f'about {s:,.0f} s'}"
        for variant, s in of_run.items()
    ]
    known = [s for s in of_run.values() if s is not None]
    if len(known) == len(of_run):
        per_variant = len(study.settings[study.baseline]) + len(study.seeds) - 1
        minutes = per_variant * sum(known) / study.jobs / 60
        notes.append(f"all runs: about {minutes:,.1f} min, evaluations not counted")
    return notes


def _data_line(study: Study, lengths: Lengths) -> str:
    """Returns how many examples the baseline is trained, chosen and scored on."""
    name = study.baseline
    return (
        f"data: {lengths.train[name]:,} examples train, "
        f"{lengths.validation[name]:,} of {study.validation_split!r} choose, and "
        f"{lengths.scored[name][study.test_split]:,} of {study.test_split!r} score"
    )
