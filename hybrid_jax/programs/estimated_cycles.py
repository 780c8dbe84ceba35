"""The time of a compiled program by the TPU compiler's own estimate."""

import re

from hybrid_jax.programs.computations import computations, executions

# What the compiler counts in, as its totals divided by measured times suggest.
CYCLES_PER_SECOND = 1.5e9


def estimated_seconds(text: str) -> float | None:
    """Returns the sum of the cycles that the compiler estimates, in seconds.

    The body of a loop counts as often as the loop runs. Waiting for other devices is not
    in the estimate. None if the text has no estimates, as that of other backends.

    Args:
        text: an HLO module as text, from the TPU compiler.
    """
    read = computations(text)
    runs = executions(read)
    cycles = 0
    for name, instructions in read.items():
        for instruction in instructions:
            if noted := re.search(r'"estimated_cycles":"(\d+)"', instruction.rest):
                cycles += int(noted[1]) * runs[name]
    return cycles / CYCLES_PER_SECOND if cycles else None
