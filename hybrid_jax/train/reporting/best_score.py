"""Which of two scores is better."""

LOWER_IS_BETTER = ("loss", "ece")


def is_better(value: float, other: float, *, score: str) -> bool:
    """Whether a value of a score is better than another one; NaN never is."""
    return value < other if score in LOWER_IS_BETTER else value > other
