"""The lines below the tables of a study: what their numbers are, and what they are not."""

from collections.abc import Mapping
from typing import Any

from hybrid_jax.studies.results.localization_table import localization_note

_MANY_IMAGES = 1000  # from here on, one image is no visible part of a score


def result_notes(found: Mapping[str, Any]) -> list[str]:
    """Returns lines that say what the tables of a report are made of."""
    runs, seeds, trials = found["runs"], found["seeds"], found["trials"]
    matched = (
        "Sizes are not matched."
        if found["matched"] == "none"
        else f"Matched within {found['tolerance']:.0%} in {found['matched']}."
    )
    scored, differences = _of_seeds(found) if len(seeds) > 1 else _of_one_seed(found)
    notes = [
        f"{len(runs)} runs. Each variant had {trials} trial{'s' * (trials > 1)} with seed "
        f"{seeds[0]}, chosen by {found['score']} on `{found['validation_split']}`; the "
        f"chosen setting {scored}. {matched}",
        "",
        differences,
        "",
        _limits(found),
    ]
    for name, changes in found["evaluations"].items():
        text = ", ".join(f"{key}={value}" for key, value in changes.items())
        notes += ["", f"`{name}` is with {text}."]
    if found.get("localization"):
        notes += ["", localization_note(found)]
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


def _of_seeds(found: Mapping[str, Any]) -> tuple[str, str]:
    """Returns how the chosen settings were scored, and what their differences are."""
    seeds = ", ".join(map(str, found["seeds"]))
    return (
        f"ran with seeds {seeds} and was scored once on `{found['test_split']}`: mean ± "
        f"standard deviation",
        f"Differences from {_all_baselines(found)} are of runs with the same seed, with "
        f"95 % intervals of Student's t, for each variant alone; bold where they exclude 0 "
        f"and every seed of both has finished.",
    )


def _of_one_seed(found: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the same where there is neither a deviation nor an interval."""
    return (
        f"was scored once on `{found['test_split']}`, with that seed alone",
        f"Differences from {_all_baselines(found)} are of one run each, which has no "
        f"interval: another seed may reverse them.",
    )


def _limits(found: Mapping[str, Any]) -> str:
    """Returns what the intervals and the times are of."""
    tests = [run["test"] for run in found["runs"] if run["final"] and run["test"]]
    counts = sorted({int(test["scores"].get("count", 0)) for test in tests} - {0})
    images = " or ".join(f"{count:,}" for count in counts)
    of_images = f"the {images} images of `{found['test_split']}`" if images else "images"
    seeds = len(found["seeds"])
    intervals = f"Intervals are of {seeds} seeds, not of" if seeds > 1 else "Scores are of"
    one = ""
    if found["score"] == "top1" and counts and counts[0] < _MANY_IMAGES:
        one = f" One image is {100 / counts[0]:.1f} points."
    return (
        f"{intervals} {of_images}: other images of the kind would move all scores."
        f"{one} `s` is the mean time in seconds "
        f"of the process of a final run, with its start and compilation, and `images/s` "
        f"its speed in training after the first step; runs that were interrupted are not "
        f"in it. "
        f"`M params` and `GMAC` are of one model and one image."
    )


def _all_baselines(found: Mapping[str, Any]) -> str:
    """Returns the baseline, or which variants each of several is that of."""
    of: dict[str, list[str]] = {}
    for name, variant in found["variants"].items():
        if name != variant["baseline"]:
            of.setdefault(variant["baseline"], []).append(f"`{name}`")
    if len(of) < 2:
        return f"`{next(iter(of), found['baseline'])}`"
    parts = [f"`{name}` (for {', '.join(others)})" for name, others in of.items()]
    return "; ".join(parts)
