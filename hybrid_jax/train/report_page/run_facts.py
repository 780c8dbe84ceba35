"""What a run was, came to and cost, in short."""

import shlex
from collections.abc import Sequence

from hybrid_jax.train.report_page.case_cards import case_cards
from hybrid_jax.train.report_page.markup import Html, element, joined, table
from hybrid_jax.train.report_page.numbers import (
    duration,
    in_short,
    shown,
    shown_score,
)
from hybrid_jax.train.report_page.run_files import ABSENT, RunFiles

_NAMED_CLASSES = 100
_LINE = 80  # characters of a command that stays on one line


def headline(run: RunFiles) -> Html:
    """Returns the best main score in large, the last scores, and what has no place."""
    best = run.best()
    parts = []
    if best is not None:
        step, value, split = best
        parts.append(
            element(
                "p",
                element("strong", shown_score(run.main_score, value)),
                f" {run.main_score} on {split}, best of the run, step {step}",
                class_="score",
            )
        )
    for split in run.splits:
        row = run.last_row(split)
        known = [key for key in run.keys(split) if row.get(key, ABSENT) != ABSENT]
        words = [f"{key} {shown_score(key, row[key])}" for key in known]
        parts.append(element("p", f"Step {row['step']}, {split}: ", " · ".join(words)))
    parts.append(element("p", " · ".join(_in_short(run)), class_="soft"))
    parts += [element("p", note, class_="note") for note in run.notes]
    return element("div", *parts, class_="headline")


def _in_short(run: RunFiles) -> list[str]:
    """Returns the size of the model, its input and the pace, as far as known."""
    cost = run.findings.get("cost", {})
    words = []
    if cost.get("parameters"):
        words.append(f"{in_short(sum(cost['parameters'].values()))} parameters")
    if cost.get("macs"):
        words.append(f"{in_short(cost['macs'])} multiply-accumulates an image")
    size = _size(run.settings.get("data.image_size"))
    words += [] if size is None else [f"{size} input"]
    if run.report.get("images_per_second"):
        words.append(f"{run.report['images_per_second']:,.4g} images/s")
    return words


def reproduction(run: RunFiles) -> Html:
    """Returns the command of the run, and what else its numbers depend on."""
    command = run.findings.get("command")
    if command is None:
        place = shlex.quote(str(run.workdir))
        command = f"python -m hybrid_jax.main --config=… --workdir={place}"
        note = "The command was not recorded; the config below has every key."
    else:
        note = "The same command goes on with the run if it was interrupted."
    known = dict(
        seed=run.settings.get("seed"),
        device=run.report.get("device"),
        jax=run.report.get("jax"),
    )
    words = ", ".join(f"{key} {value}" for key, value in known.items() if value is not None)
    if len(command) > _LINE:
        parts = map(shlex.quote, shlex.split(command))
        command = "".join(f" \\\n  {x}" if x.startswith("--") else f" {x}" for x in parts)
    return joined(
        element("pre", element("code", command.strip()), tabindex="0"),
        element("p", f"{note} {words}"),
    )


def data_summary(run: RunFiles) -> Html:
    """Returns splits, sizes and classes of the data, with samples of training."""
    dataset, settings = run.dataset, run.settings
    rows = [
        ["data", settings.get("data.name")],
        ["training images", dataset.get("train_examples")],
        [
            f"{settings.get('eval.split', 'validation')} images",
            dataset.get("validation_examples"),
        ],
        ["size of the model's input", _size(settings.get("data.image_size"))],
    ]
    rows = [[name, shown(value)] for name, value in rows if value is not None]
    parts = [table(["", ""], rows, kind="facts", label="Data")] if rows else []
    for target, names in (dataset.get("classes") or {}).items():
        more = f", and {len(names) - _NAMED_CLASSES} more" * (len(names) > _NAMED_CLASSES)
        listed = ", ".join(map(str, names[:_NAMED_CLASSES]))
        parts.append(element("p", f"{len(names)} classes ({target}): {listed}{more}"))
    samples = run.findings.get("samples", [])
    parts.append(case_cards("Samples of the training split", samples, task=""))
    return joined(*parts)


def costs(run: RunFiles) -> Html:
    """Returns parameters, arithmetic, memory and time."""
    rows = cost_rows(run)
    return table(["", ""], [list(row) for row in rows], kind="facts", label="Cost")


def cost_rows(run: RunFiles) -> Sequence[tuple[str, str]]:
    """Returns (what, how much) of everything that is known of a run's cost."""
    cost, report = run.findings.get("cost", {}), run.report
    parameters: dict[str, int] = cost.get("parameters", {})
    rows: list[tuple[str, str]] = []
    if parameters:
        rows.append(("parameters", f"{sum(parameters.values()):,}"))
        rows += [(f"… of {name}", f"{count:,}") for name, count in parameters.items()]
    if "macs" in cost:
        size = _size(run.settings.get("data.image_size"))
        rows.append((f"multiply-accumulates of an image of {size}", in_short(cost["macs"])))
    for key, words, unit in (
        ("peak_device_gib", "peak of device memory", " GiB"),
        ("peak_host_gib", "peak of host memory", " GiB"),
        ("images_per_second", "images per second, at the end", ""),
        ("seconds_to_start", "time until the first step", " s"),
        ("seconds_first_step", "first step, compilation included", " s"),
    ):
        if report.get(key) is not None:
            rows.append((words, f"{report[key]:,.4g}{unit}"))
    seconds = _seconds(run)
    if seconds:
        rows.append(("time of training steps", duration(seconds)))
    return rows


def _seconds(run: RunFiles) -> float:
    """Returns the time of all steps, by the pace of each row."""
    total, before = 0.0, 0
    for step, pace in run.points("seconds_per_step", split="train"):
        total += pace * max(step - before, 0)
        before = step
    return total


def _size(size: object) -> str | None:
    if isinstance(size, list | tuple):
        return " × ".join(map(str, size)) + " px"
    return None if size is None else f"{size} px"
