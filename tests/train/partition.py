"""What the compiler makes of a training step on eight devices."""

import dataclasses
import re

from hybrid_jax.profiling.ahead_of_time import compile_train_step
from hybrid_jax.programs.collectives import Collective, collectives

# Rows of a batch: thirteen for each of eight devices. No parameter of a small model has an
# axis that it divides, so what has one belongs to the examples.
ROWS = 104


@dataclasses.dataclass(frozen=True)
class Partition:
    """The exchanges between the devices in one step.

    Attributes:
        collectives: all of them.
        warnings: what the partitioner says of copies it could not avoid.
    """

    collectives: list[Collective]
    warnings: list[str]

    def gathered_examples(self) -> list[str]:
        """Returns what brings rows of all devices together; sums are none of them."""
        return [
            f"{one.op} {one.shape} of {one.name}"
            for one in self.collectives
            if one.op not in ("all-reduce", "reduce-scatter")
            and any(size % ROWS == 0 for size in _sizes(one.shape))
        ]


def partition_of(experiment, capfd) -> Partition:
    """Compiles the training step of an experiment whose batch has `ROWS` rows.

    Args:
        capfd: pytest's fixture; the partitioner writes to the process's standard error.
    """
    assert experiment.config.train.batch_size == ROWS
    capfd.readouterr()
    compiled = compile_train_step(experiment)
    said = capfd.readouterr().err.splitlines()
    warnings = [line for line in said if "full rematerialization" in line]
    return Partition(collectives(compiled.as_text()), warnings)


def _sizes(shape: str) -> list[int]:
    axes = re.findall(r"\[([\d,]+)\]", shape)
    return [int(size) for listed in axes for size in listed.split(",")]
