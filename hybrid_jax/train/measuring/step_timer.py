"""How fast a run goes, without the time that is not training."""

import contextlib
import time
from collections.abc import Iterator

from hybrid_jax.train.prefetch import DevicePrefetch


class StepTimer:
    """Counts steps and time since it was last restarted.

    Args:
        batch_size: images per step, over all processes.
        batches: the prefetcher whose waiting is counted.
        fastest: images per second at the devices' peak, where that is known.
    """

    def __init__(
        self, *, batch_size: int, batches: DevicePrefetch, fastest: float | None = None
    ):
        self._batch_size = batch_size
        self._fastest = fastest
        self._batches = batches
        self._is_paused = False
        self.restart()

    def restart(self) -> None:
        """Starts counting anew: after a compilation and after each row."""
        self._steps = 0
        self._started = time.perf_counter()
        self._waited = self._batches.seconds_waited

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time inside: of an evaluation, a save, a profile.

        A pause inside another one is part of that.
        """
        if self._is_paused:
            yield
            return
        self._is_paused, since = True, time.perf_counter()
        try:
            yield
        finally:
            self._is_paused = False
            self._started += time.perf_counter() - since

    def step(self) -> None:
        """Counts one step."""
        self._steps += 1

    def seconds(self) -> float:
        """Returns the seconds since the last restart, without pauses."""
        return time.perf_counter() - self._started

    def values(self) -> dict[str, float]:
        """Returns images/s, seconds per step and the share of time spent waiting for data.

        And, on devices whose peak is known, `mfu`: the share of that peak that the model's
        arithmetic takes.

        Empty if no step was counted, as where the only one was the compiling one.
        """
        seconds = self.seconds()
        if not self._steps or seconds <= 0.0:
            return {}
        waited = self._batches.seconds_waited - self._waited
        speed = self._batch_size * self._steps / seconds
        values = dict(
            images_per_second=speed,
            seconds_per_step=seconds / self._steps,
            data_wait=min(waited / seconds, 1.0),
        )
        if self._fastest is not None:
            values["mfu"] = speed / self._fastest
        return values
