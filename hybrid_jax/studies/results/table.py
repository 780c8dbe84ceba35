"""`study.md`: the table of a study, made of what `study.json` holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.studies.results.localization_table import localization_tables
from hybrid_jax.studies.results.table_notes import result_notes
from hybrid_jax.studies.short_keys import short_keys

_COLUMNS = ("variant", "setting", "M params", "GMAC", "s", "images/s", "runs")


def study_table(found: Mapping[str, Any]) -> str:
    """Returns the Markdown of a report.

    A difference is bold only where its interval excludes zero and no run of the variant or
    of the baseline is missing: what is left of a variant that diverges is no fair sample.

    Args:
        found: of `report`.
    """
    tables = [_markdown(rows) for rows in result_tables(found)]
    return "\n\n".join([*tables, "\n".join(result_notes(found))]) + "\n"


def result_tables(found: Mapping[str, Any]) -> list[list[list[str]]]:
    """Returns the tables of a report, each a header and rows of Markdown cells.

    The second and the third are of further evaluations, if there are any: their scores,
    and the differences from the baseline. The last two are of where variants look, if that
    was scored.
    """
    less = f"less {_baseline_named(found)}"
    header = [*_COLUMNS, f"{found['test_split']} {found['score']}", less]
    tables = [[header, *(_row(name, found) for name in found["variants"])]]
    names = [*found["evaluations"], *found["suites"]]
    if names:
        scores, differences = [["variant", *names]], [[less, *names]]
        for name, variant in found["variants"].items():
            of = [variant["evaluations"][evaluation] for evaluation in names]
            is_baseline = name == variant["baseline"]
            scores.append([f"`{name}`", *map(_with_deviation, of)])
            cells = ["" if is_baseline else _difference(one, found) for one in of]
            differences.append([f"`{name}`", *cells])
        tables += [scores, differences]
    if found.get("localization"):
        tables += localization_tables(
            found,
            with_deviation=_with_deviation,
            difference=lambda scored: _difference(scored, found),
        )
    return tables


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    header, *others = rows
    left = 2 if header[1] == _COLUMNS[1] else 1
    line = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, line, *others))


def _baseline_named(found: Mapping[str, Any]) -> str:
    baselines = {variant["baseline"] for variant in found["variants"].values()}
    return "its baseline" if len(baselines) > 1 else found["baseline"]


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
        "" if name == variant["baseline"] else _difference(variant, found),
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


def _with_deviation(scored: Mapping[str, Any]) -> str:
    if scored["not_finite"]:
        return f"NaN in {scored['not_finite']} of {scored['scorings']}"
    if scored["mean"] is None:
        return "none"
    deviation = scored["deviation"]
    return f"{scored['mean']:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def _difference(scored: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    difference = scored["difference"]
    if difference is None:
        return "none"
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
