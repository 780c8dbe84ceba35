"""What an evaluation finds beside its scores: what the report of a run shows.

A task has it if it has `findings(source)`, which returns the `Findings` of a split; without
it, the report shows what is known of any task.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from hybrid_jax.contracts import Scorer

SHOWN_CLASSES = 30  # a larger confusion matrix is not legible
SHOWN_PAIRS = 20  # of classes that are taken for each other


class Case(NamedTuple):
    """One example and what a model said of it.

    Attributes:
        index: of the example in its source.
        score: how good the prediction is, in [0, 1], or how sure; for ranking and captions.
        prediction: one row of `Task.predict`.
    """

    index: int
    score: float
    prediction: Mapping[str, np.ndarray]


class Findings(Protocol):
    """What an evaluation finds beside its scores, for people to look at."""

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        index: np.ndarray,
        *,
        scorer: Scorer | None,
    ) -> None:
        """Adds the predictions for the examples `index` (b,), which `scorer` already has.

        Args:
            predictions: rows of `Task.predict`, with `true_label` (b,) where known.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """Returns plain values for JSON, with these keys or fewer.

        `table`: `columns` and `rows` of the scores of each class. `confusion`: `names`,
        `counts` (true class, predicted class) and their `unit`. `confused`: the most
        frequent wrong pairs (true, predicted, count). `calibration`: (count, mean
        confidence, share correct) of each bin. `curves`: (name, recalls, precisions).
        """
        ...

    def cases(self) -> tuple[list[Case], list[Case]]:
        """Returns some of the best predictions, best first, and of the worst."""
        ...
