"""Where a run's numbers go: `metrics.jsonl`, TensorBoard, and the terminal."""

import datetime
import json
import sys
from collections.abc import Mapping
from typing import Any

from etils import epath
from tqdm import tqdm

from hybrid_jax.errors import UserError
from hybrid_jax.train.parallel.distributed import is_main_process


class RunLog:
    """Writes rows and shows progress; silent in all processes but the first.

    On a terminal there is a progress bar on stderr; elsewhere one plain line per row, so
    that the logs of a cluster stay readable.

    Args:
        workdir: where `metrics.jsonl` and `tensorboard/` go.
        start: steps already done.
        steps: steps of the whole run.
        tensorboard: whether to write event files.
        progress: whether to show a bar where there is a terminal.
    """

    def __init__(
        self,
        workdir: epath.Path,
        *,
        start: int,
        steps: int,
        tensorboard: bool,
        progress: bool,
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
        shown = self.active and progress and sys.stderr.isatty()
        self._bar = (
            tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True)
            if shown
            else None
        )

    def say(self, text: str) -> None:
        """Prints a line without tearing the progress bar."""
        if not self.active:
            return
        if self._bar is not None:
            self._bar.write(text)
        else:
            print(text, flush=True)

    def advance(self) -> None:
        """Moves the progress bar by one step."""
        if self._bar is not None:
            self._bar.update(1)

    def train_row(self, step: int, values: Mapping[str, float]) -> None:
        """Records one training row: loss, learning rate, norms; speed where known."""
        self._record(step, "train", values)
        loss, rate = values["loss"], values.get("images_per_second")
        speed = "" if rate is None else f"{rate:.1f} images/s"
        if "mfu" in values:
            speed += f", MFU {100 * values['mfu']:.1f} %"
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}, {speed}")
            return
        if rate is not None:
            seconds = (self._steps - step) * values["seconds_per_step"]
            eta = datetime.timedelta(seconds=round(seconds))
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

    def flush(self) -> None:
        """Puts everything recorded so far where another process can read it."""
        if self._events is not None:
            self._events.flush()
        if self.active and self._is_remote:
            self._path.write_text("".join(self._unwritten))

    def close(self) -> None:
        """Flushes and takes the bar away."""
        self.flush()
        if self._events is not None:
            self._events.close()
        if self._bar is not None:
            self._bar.close()

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
