"""Recording some steps of a run, for a profiler to show."""

import shutil
import tempfile
from collections.abc import Callable

import jax
from etils import epath


class StepTrace:
    """Records the steps that `config.profile.steps` names into `<workdir>/profile`.

    Every process records its own devices. A run that ends or is stopped amid the steps
    keeps what it has of them.

    Args:
        workdir: of the run, a directory or a bucket path.
        steps: "FIRST:LAST", both of them recorded, or "" for nothing.
        say: prints a line.
    """

    def __init__(self, workdir: epath.Path, steps: str, *, say: Callable[[str], None]):
        self._to = workdir / "profile"
        self._first, self._last = map(int, steps.split(":")) if steps else (0, -1)
        self._say = say
        self._at: str | None = None  # where the one in progress is written

    def before(self, step: int) -> None:
        """Begins recording, if `step` is the first of those wanted that this run does."""
        if self._at is None and self._first <= step <= self._last:
            # The profiler writes to local disks alone.
            is_remote = "://" in str(self._to)
            self._at = tempfile.mkdtemp() if is_remote else str(self._to)
            jax.profiler.start_trace(self._at)

    def is_last(self, step: int) -> bool:
        """Whether the recording is to end after `step`, once its results are there."""
        return self._at is not None and step >= self._last

    def close(self) -> None:
        """Writes what has been recorded, if anything is being."""
        if self._at is None:
            return
        at, self._at = self._at, None
        jax.profiler.stop_trace()
        if at != str(self._to):
            _copy(epath.Path(at), self._to)
            shutil.rmtree(at)
        self._say(
            f"profile of steps {self._first} to {self._last} in {self._to}: "
            f"pip install xprof, then xprof --logdir={self._to}; or drop its "
            f"*.trace.json.gz on https://ui.perfetto.dev"
        )


def _copy(source: epath.Path, target: epath.Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_dir():
            _copy(path, target / path.name)
        else:
            path.copy(target / path.name, overwrite=True)
