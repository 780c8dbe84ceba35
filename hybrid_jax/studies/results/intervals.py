"""Intervals of differences between runs with the same seeds."""

import dataclasses
import statistics
from collections.abc import Sequence

# Differences closer together than this differ by rounding alone.
_NO_SPREAD = 1e-12


@dataclasses.dataclass(frozen=True)
class Interval:
    """The mean of paired differences, and where its expectation lies.

    Attributes:
        mean: of the differences.
        low: lower end; None if there is no interval.
        high: upper end; None if there is no interval.
    """

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, with both ends on one side of zero."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def paired_interval(
    scores: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95
) -> Interval:
    """Returns Student's interval of the mean difference of pairs.

    It supposes that differences are about normal and pairs independent. It is for one
    comparison: of twenty variants that are no better, one in the mean looks different.

    Args:
        scores: of a variant, one for each seed.
        baseline: of the baseline with the same seeds, in the same order.
        confidence: in (0, 1).

    Returns:
        Without ends for a single pair, and for differences that are all the same, whose
        spread says nothing.

    Raises:
        ValueError: no pairs, or not as many of one as of the other.
    """
    differences = [one - other for one, other in zip(scores, baseline, strict=True)]
    if not differences:
        raise ValueError("no pairs")
    mean, count = statistics.fmean(differences), len(differences)
    if count < 2:
        return Interval(mean)
    deviation = statistics.stdev(differences)
    if deviation < _NO_SPREAD:
        return Interval(mean)
    from scipy.stats import t  # half a second to import

    half = float(t.ppf((1 + confidence) / 2, count - 1)) * deviation / count**0.5
    return Interval(mean, mean - half, mean + half)
