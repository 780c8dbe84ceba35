"""How far an evaluation is, for the heartbeat of a run."""

from collections.abc import Callable, Mapping, Sized
from typing import Any


class CountedEvaluation:
    """An evaluation step that counts its calls.

    Args:
        step: compiled on its first call.
        source: the examples of one evaluation.
        config: `config.eval`, of one split.
        is_compiled: whether another evaluation has compiled the step.
    """

    def __init__(
        self,
        step: Callable,
        source: Sized,
        *,
        config: Mapping[str, Any],
        is_compiled: bool = False,
    ):
        self._step, self._split = step, config["split"]
        self._batches = -(-len(source) // config["batch_size"])
        self._done = 0
        self._is_compiled = is_compiled

    def __call__(self, *args: Any) -> Any:
        """Takes the step."""
        results = self._step(*args)
        self._is_compiled = True
        self._done += 1
        return results

    def begin(self, step: int, *, say: Callable[[str], None]) -> None:
        """Counts anew; says before the first evaluation that it compiles.

        Args:
            step: of training.
            say: prints a line.
        """
        self._done = 0
        if not self._is_compiled:
            say(f"step {step}  compiling the evaluation: seconds to minutes, once")

    def words(self) -> str:
        """Returns what is being done."""
        if not self._is_compiled:
            return f"reading {self._split} and compiling its evaluation"
        return f"evaluating {self._split}, batch {self._done} of {self._batches}"
