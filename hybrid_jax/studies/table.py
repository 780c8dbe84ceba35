"""`study.md`: the table of a study, made of what `study.json` holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.studies.short_keys import short_keys

_COLUMNS = ("variant", "setting", "M params", "GMAC", "s", "images/s", "runs")


def study_table(found: Mapping[str, Any]) -> str:
    """Returns the Markdown of a report.

    A difference is bold only where its interval excludes zero and no run of the variant or
    of the baseline is missing: what is left of a variant that diverges is no fair sample.

    Args:
        found: of `report`.
    """
    score, baseline = found["score"], found["baseline"]
    header = [*_COLUMNS, f"{found['test_split']} {score}", f"less {baseline}"]
    rows = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    rows += [_row(name, found) for name in found["variants"]]
    tables = [_markdown(rows)]
    if found["evaluations"] or found["suites"]:
        tables.append(_markdown(_evaluation_rows(found)))
    return "\n\n".join([*tables, "\n".join(_notes(found))]) + "\n"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _evaluation_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """Returns the table of the further evaluations: a column for each."""
    names = [*found["evaluations"], *found["suites"]]
    rows = [["variant", *names], ["---", *["---:"] * len(names)]]
    for name, variant in found["variants"].items():
        cells = []
        for evaluation in names:
            scored = variant["evaluations"][evaluation]
            text = _with_deviation(scored)
            bold = _is_bold(scored["difference"], found)
            cells.append(f"**{text}**" if bold else text)
        rows.append([f"`{name}`", *cells])
    return rows


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    variant = found["variants"][name]
    time = variant["time"]
    return [
        f"`{name}`",
        _setting(variant["setting"]),
        f"{variant['params'] / 1e6:.3f}",
        f"{variant['macs'] / 1e9:.4f}",
        _number(time["seconds"], ".0f"),
        _number(time["images_per_second"], ".0f"),
        _outcomes(variant),
        _with_deviation(variant),
        _difference(name, found),
    ]


def _setting(setting: Mapping[str, Any] | None) -> str:
    if setting is None:
        return "none finished"
    names = short_keys(setting)
    return ", ".join(f"{names[key]}={value}" for key, value in setting.items())


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _outcomes(variant: Mapping[str, Any]) -> str:
    """Returns the final runs, and the trials where some did not finish."""
    final, trials = variant["outcomes"]["final"], variant["outcomes"]["trials"]
    words = [f"{final.get('finished', 0)} of {variant['seeds']}"]
    words += [
        f"{count} {status}" for status, count in final.items() if status != "finished"
    ]
    words += [
        f"{count} of {sum(trials.values())} trials {status}"
        for status, count in trials.items()
        if status != "finished"
    ]
    return ", ".join(words)


def _with_deviation(variant: Mapping[str, Any]) -> str:
    if variant["mean"] is None:
        return "none"
    deviation = variant["deviation"]
    return f"{variant['mean']:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def _difference(name: str, found: Mapping[str, Any]) -> str:
    difference = found["variants"][name]["difference"]
    if difference is None:
        return "" if name == found["baseline"] else "none"
    if difference["low"] is None:
        return f"{difference['mean']:+.4f} (no interval)"
    text = (
        f"{difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    )
    return f"**{text}**" if _is_bold(difference, found) else text


def _is_bold(difference: Mapping[str, Any] | None, found: Mapping[str, Any]) -> bool:
    if difference is None:
        return False
    whole = difference["pairs"] == len(found["seeds"])
    return difference["excludes_zero"] and whole


def _notes(found: Mapping[str, Any]) -> list[str]:
    runs, seeds, trials = found["runs"], found["seeds"], found["trials"]
    matched = (
        "Sizes are not matched."
        if found["matched"] == "none"
        else f"Matched within {found['tolerance']:.0%} in {found['matched']}."
    )
    notes = [
        f"{len(runs)} runs. Each variant had {trials} trial{'s' * (trials > 1)} with seed "
        f"{seeds[0]}, chosen by {found['score']} on "
        f"`{found['validation_split']}`; the chosen setting ran with seeds "
        f"{', '.join(map(str, seeds))} and was scored once on "
        f"`{found['test_split']}`: mean ± standard deviation. {matched}",
        "",
        f"Differences from `{found['baseline']}` are of runs with the same seed, with 95 % "
        f"intervals of Student's t, for each variant alone; bold where they exclude 0 and "
        f"every seed of both has finished.",
    ]
    if found["evaluations"] or found["suites"]:
        notes += [
            "",
            f"In the second table a mean is bold by the same rule: its difference from "
            f"that of `{found['baseline']}`, which is in study.json, has such an interval.",
        ]
    for name, changes in found["evaluations"].items():
        text = ", ".join(f"{key}={value}" for key, value in changes.items())
        notes += ["", f"`{name}` is with {text}."]
    if found["suites"]:
        names = ", ".join(f"`{name}`" for name in found["suites"])
        notes += [
            "",
            f"{names}: mean over all passes of the suite of robustness of this name on "
            f"`{found['test_split']}`.",
        ]
    for name, variant in found["variants"].items():
        for key in variant["edges"]:
            notes += [
                "",
                f"`{name}`: {key}={variant['setting'][key]} is at the end of its grid; a "
                f"wider one may serve it better.",
            ]
    return notes
