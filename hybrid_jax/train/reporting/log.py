"""Where a run's numbers go: `metrics.jsonl`, TensorBoard, and the terminal."""

import contextlib
import datetime
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from hybrid_jax.errors import UserError
from hybrid_jax.train.parallel.distributed import is_main_process


class RunLog:
    """Writes rows and shows progress; silent in all processes but the first.

    On a terminal there is a progress display on stderr; elsewhere one plain line per row,
    so that notebooks and the logs of a cluster stay readable.

    Args:
        workdir: where `metrics.jsonl` and `tensorboard/` go.
        start: steps already done.
        steps: steps of the whole run.
        tensorboard: whether to write event files.
        progress: whether to show the display where there is a terminal.
        main_score: the score whose best value the display has.
        status: returns what is being done, for the display.
    """

    def __init__(
        self,
        workdir: epath.Path,
        *,
        start: int,
        steps: int,
        tensorboard: bool,
        progress: bool,
        main_score: str = "",
        status: Callable[[], str] = str,
    ):
        self.active = is_main_process()
        self._steps = steps
        self._path = workdir / "metrics.jsonl"
        # Object stores cannot append: there the rows are kept and the file rewritten.
        self._is_remote = "://" in str(workdir)
        self._unwritten: list[str] = []
        if self._is_remote and self._path.exists():
            self._unwritten = self._path.read_text().splitlines(keepends=True)
        self._events = None
        if self.active and tensorboard:
            # Here, because it imports torch where there is one: 600 MB for nothing.
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(
                str(workdir / "tensorboard"), purge_step=start + 1, write_to_disk=True
            )
        self._display = None
        if self.active and progress and sys.stderr.isatty():
            # Here, so that nothing else needs it.
            from hybrid_jax.train.reporting.progress_display import ProgressDisplay

            self._display = ProgressDisplay(
                start=start, steps=steps, score=main_score, status=status
            )

    @property
    def has_events(self) -> bool:
        """Whether TensorBoard's files are written by this process."""
        return self._events is not None

    def say(self, text: str) -> None:
        """Prints a line without tearing the progress display."""
        if not self.active:
            return
        if self._display is not None:
            self._display.say(text)
        else:
            print(text, flush=True)

    def beat(self, status: str) -> None:
        """Prints what is being done, unless the display shows it."""
        if self._display is None:
            self.say(status)
        else:
            self._display.beat(status)

    def advance(self) -> None:
        """Moves the progress display by one step."""
        if self._display is not None:
            self._display.advance()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Takes the progress display away while something else has the terminal."""
        if self._display is None:
            yield
            return
        with self._display.away():
            yield

    def train_row(self, step: int, values: Mapping[str, float]) -> None:
        """Records one training row: loss, learning rate, norms; speed where known."""
        self._record(step, "train", values)
        loss, rate = values["loss"], values.get("images_per_second")
        speed = "" if rate is None else f"{rate:.1f} images/s"
        if "mfu" in values:
            speed += f", MFU {100 * values['mfu']:.1f} %"
        eta = None
        if rate is not None:
            seconds = (self._steps - step) * values["seconds_per_step"]
            eta = datetime.timedelta(seconds=round(seconds))
        if self._display is not None:
            self._display.train_row(loss, speed=speed, eta=eta)
            return
        if rate is not None:
            speed += f"  data wait {100 * values['data_wait']:.1f} %  ETA {eta}"
        self.say(
            f"step {step}/{self._steps}  loss {loss:.4f}  "
            f"lr {values['learning_rate']:.2e}  grad {values['grad_norm']:.3f}  {speed}"
        )

    def scores(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Records the scores of one evaluation; shows all but those of single classes."""
        self._record(step, split, values)
        shown = "  ".join(
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in values.items()
            if "/" not in name  # "IoU/sky": there may be hundreds
        )
        self.say(f"step {step}  {split}: {shown}")
        if self._display is not None:
            self._display.scores(step, values)

    def picture(self, step: int, name: str, image_u8: np.ndarray) -> None:
        """Shows an image (H, W, 3) uint8 in TensorBoard, where there is one."""
        if self._events is not None:
            self._events.add_image(name, image_u8, step, dataformats="HWC")

    def text(self, name: str, markdown: str) -> None:
        """Shows a text in TensorBoard, where there is one."""
        if self._events is not None:
            self._events.add_text(name, markdown, 0)

    def flush(self) -> None:
        """Puts everything recorded so far where another process can read it."""
        if self._events is not None:
            self._events.flush()
        if self.active and self._is_remote:
            self._path.write_text("".join(self._unwritten))

    def close(self) -> None:
        """Flushes and takes the display away."""
        self.flush()
        if self._events is not None:
            self._events.close()
        if self._display is not None:
            self._display.close()

    def _record(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        if not self.active:
            return
        line = json.dumps(dict(step=step, split=split, **values)) + "\n"
        if self._is_remote:
            self._unwritten.append(line)
        else:
            try:
                with open(self._path, "a") as file:
                    file.write(line)
            except OSError as error:
                raise UserError(
                    f"{self._path} cannot be written ({error.strerror}). Checkpoints are "
                    f"intact. Free some space or fix the disk, then run the same command "
                    f"again to continue."
                ) from error
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{split}/{name}", value, step)
