"""What of the data a run could not use, counted and told."""

import collections
from collections.abc import Callable, Mapping

from hybrid_jax.train.parallel.distributed import sum_over_processes

# What the counters of a batch count, in words.
_WORDS = {
    "skipped": "unreadable examples skipped (--mode=check names them)",
    "dropped": "objects left out for want of room (data.max_boxes)",
    "vanished": "objects under a pixel left out (a larger data.image_size keeps more)",
    "faulty": "faulty annotations left out (--mode=check names them)",
    "cut_off": "objects left out because a crop left too little of them",
}
# Random crops cut objects off all the time: that is counted in rows and report alone.
_NOT_SAID = ("cut_off",)


class UnusedData:
    """Adds up the counters of batches over all processes.

    Attributes:
        reported: what was last told of each counter that is not zero.
    """

    def __init__(self):
        self.reported: dict[str, int] = {}
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, counts: Mapping[str, int]) -> None:
        """Takes this process's counts of one batch."""
        self._counts.update(counts)

    def tell(self, say: Callable[[str], None]) -> dict[str, int]:
        """Returns the sums that are not zero and says what grew; all must ask."""
        sums = {}
        for name, words in _WORDS.items():
            if name not in self._counts:
                continue
            count = sum_over_processes(self._counts[name])
            if count:
                sums[name] = count
            if count > self.reported.get(name, 0):
                self.reported[name] = count
                if name not in _NOT_SAID:
                    say(f"{count} {words} so far")
        return sums
