"""The scores of all passes that a run has been through, kept in its workdir."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from hybrid_jax.errors import UserError
from hybrid_jax.robustness.passes import Pass
from hybrid_jax.train.checkpoints.workdir import write_whole
from hybrid_jax.train.parallel.distributed import is_main_process

FILE = "robustness_passes.json"
Scores = dict[str, float]


class Record:
    """The passes measured so far in one way, on disk after every change.

    Args:
        workdir: of the run.
        settings: what decides the scores, as plain values by name.
        scores: of the passes.
    """

    def __init__(
        self,
        workdir: epath.Path,
        *,
        settings: Mapping[str, Any],
        scores: Mapping[Pass, Scores] | None = None,
    ):
        self.workdir = workdir
        self.settings = dict(settings)
        self.scores: dict[Pass, Scores] = dict(scores or {})

    def add(self, scores: Mapping[Pass, Scores]) -> None:
        """Adds passes and writes the file in one move.

        Raises:
            UserError: it cannot be written.
        """
        self.scores |= scores
        if not is_main_process():
            return
        rows = [[*each, found] for each, found in self.scores.items()]
        text = json.dumps(dict(settings=self.settings, passes=rows)) + "\n"
        try:
            write_whole(self.workdir / FILE, text)
        except OSError as error:
            raise UserError(
                f"{self.workdir / FILE} cannot be written ({error.strerror}). Free some "
                f"space or fix the disk, then run the same command again to continue."
            ) from error

    def missing(self, passes: Iterable[Pass]) -> list[Pass]:
        """Returns those of the passes that are not measured, in order."""
        return [each for each in passes if each not in self.scores]


def read_record(workdir: epath.Path) -> Record | None:
    """Returns what was measured for a run, or None.

    Raises:
        UserError: the file is damaged.
    """
    path = workdir / FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        scores = {Pass(*row[:3]): dict(row[3]) for row in found["passes"]}
        return Record(workdir, settings=dict(found["settings"]), scores=scores)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise UserError(
            f"{path} is damaged ({error}). Remove it: the passes are then measured again."
        ) from error


def continued_record(workdir: epath.Path, settings: Mapping[str, Any]) -> Record:
    """Returns the record of a run to go on with, an empty one if it was made otherwise.

    What is then lost is said in one line.

    Args:
        settings: of the measurement that is to be made.

    Raises:
        UserError: the file is damaged.
    """
    settings = json.loads(json.dumps(dict(settings)))  # tuples are lists in the file
    old = read_record(workdir)
    if old is None:
        return Record(workdir, settings=settings)
    for key in {**old.settings, **settings}:
        was, now = old.settings.get(key), settings.get(key)
        if was != now:
            if is_main_process():
                print(
                    f"{len(old.scores)} passes were measured with {key} = {was!r}, now it "
                    f"is {now!r}: all are measured again.",
                    flush=True,
                )
            return Record(workdir, settings=settings)
    return old
