"""The progress of a run on a terminal: a bar, the loss so far, speed and best score."""

import contextlib
import datetime
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text
from tqdm import tqdm

from hybrid_jax.train.reporting.best_score import is_better

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 24  # characters of the line of losses
_REFRESHES = 4  # per second; each takes some time of the interpreter


class ProgressDisplay:
    """Two lines at the bottom of stderr; lines that are said scroll above them.

    Args:
        start: steps already done.
        steps: of the whole run.
        score: whose best value is shown.
        status: returns what is being done and for how long, "" for nothing to show; called
            by the thread that draws.
    """

    def __init__(
        self, *, start: int, steps: int, score: str, status: Callable[[], str] = str
    ):
        self._score, self._status = score, status
        self._is_away = False
        self._losses: list[float] = []
        self._now: list[str] = []
        self._best: tuple[float, int] | None = None
        console = Console(file=sys.stderr, force_terminal=True)
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:.0f} %"),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("", total=steps, completed=start)
        self._live = Live(
            console=console,
            get_renderable=self._drawn,
            refresh_per_second=_REFRESHES,
            transient=True,
            redirect_stderr=False,
            redirect_stdout=False,
        )
        self._live.start()

    def say(self, text: str) -> None:
        """Prints a line above."""
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def beat(self, status: str) -> None:
        """Prints what is being done where the lines cannot show it: above another bar."""
        if self._is_away:
            with tqdm.external_write_mode(file=sys.stderr):
                self.say(status)

    def advance(self) -> None:
        """Counts one step."""
        self._progress.advance(self._task)

    def train_row(self, loss: float, *, speed: str, eta: datetime.timedelta | None) -> None:
        """Shows what a row of training has."""
        self._losses.append(loss)
        self._now = [f"loss {loss:.4f} {sparkline(self._losses, width=_WIDTH)}".rstrip()]
        self._now += [speed] if speed else []
        self._now += [] if eta is None else [f"ETA {eta}"]
        self._live.refresh()

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the scores of an evaluation; the best one is shown."""
        value = values.get(self._score)
        if value is None:
            return
        if self._best is None or is_better(value, self._best[0], score=self._score):
            self._best = value, step

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Removes the lines while something else has the terminal."""
        self._live.stop()
        self._is_away = True
        try:
            yield
        finally:
            self._is_away = False
            self._live.start()

    def close(self) -> None:
        """Removes the lines for good."""
        self._live.stop()

    def _drawn(self) -> Group:
        words = [*filter(None, [self._status()]), *self._now]
        if self._best is not None:
            words.append(f"best {self._score} {self._best[0]:.4f} (step {self._best[1]})")
        line = Text("  ".join(words), no_wrap=True, overflow="ellipsis")
        return Group(self._progress.get_renderable(), line)


def sparkline(values: Sequence[float], *, width: int) -> str:
    """Returns finite values as blocks of eight heights, the means of equal stretches.

    Args:
        values: in their order.
        width: characters at most.
    """
    count = min(width, len(values))
    bounds = [round(i * len(values) / count) for i in range(count + 1)] if count else []
    stretches = [values[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    means = [sum(stretch) / len(stretch) for stretch in stretches]
    if len(means) < 2:
        return ""
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((mean - low) * scale)] for mean in means)
