"""The passes over a split that a measurement is made of."""

from collections.abc import Sequence
from typing import NamedTuple

from hybrid_jax.errors import UserError
from hybrid_jax.robustness.corruptions import check_choice
from hybrid_jax.robustness.corruptions.levels import SEVERITIES
from hybrid_jax.robustness.suites import SUITES


class Pass(NamedTuple):
    """One line of a suite at one strength; `CLEAN` is none of them."""

    suite: str
    line: str
    strength: float


CLEAN = Pass("clean", "clean", 0)


def passes_of(
    suites: Sequence[str],
    *,
    task: str,
    corruptions: Sequence[str] = (),
    severities: Sequence[str | int] = SEVERITIES,
) -> list[Pass]:
    """Returns the clean pass and those of the suites, in order.

    Args:
        suites: names; none for all that suit the task, or for the corruptions alone if
            some of their names or severities are given.
        task: name of the task.
        corruptions: names; none for all.
        severities: of the corruptions, 1 to 5.

    Raises:
        UserError: an unknown name or severity, a suite that is not for this task, or
            corruptions where their suite is not asked for.
    """
    numbers = sorted({_number(severity) for severity in severities})
    corruptions = list(dict.fromkeys(corruptions))
    check_choice(corruptions, numbers)
    if not numbers:
        raise UserError("--severities: expected at least one of 1, 2, 3, 4, 5, got none.")
    some = bool(corruptions) or numbers != list(SEVERITIES)
    suites = list(dict.fromkeys(suites)) or (["corruptions"] if some else _fitting(task))
    if some and "corruptions" not in suites:
        raise UserError(
            "--corruptions and --severities belong to the suite 'corruptions', which "
            f"--suites={','.join(suites)} leaves out."
        )
    passes = [CLEAN]
    for name in suites:
        suite = SUITES.get(name)
        if suite.tasks is not None and task not in suite.tasks:
            raise UserError(
                f"--suites: {name!r} is for {', '.join(suite.tasks)}, and the run's task "
                f"is {task}. For it: {', '.join(_fitting(task))}."
            )
        lines = dict(suite.lines)
        if name == "corruptions":
            lines = dict.fromkeys(corruptions or lines, numbers)
        passes += [Pass(name, line, x) for line, row in lines.items() for x in row]
    return passes


def _fitting(task: str) -> list[str]:
    def fits(name: str) -> bool:
        tasks = SUITES.get(name).tasks
        return tasks is None or task in tasks

    return list(filter(fits, SUITES.names()))


def _number(severity: str | int) -> int:
    try:
        return int(severity)
    except ValueError:
        raise UserError(
            f"--severities: expected numbers of 1 to 5, got {severity!r}."
        ) from None
