"""Which cores and which GPU each of several runs on one machine has."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping

# What a GPU's runs may take of its memory together; the rest is for CUDA itself.
_OF_MEMORY = 0.9


@dataclasses.dataclass(frozen=True)
class MachineShare:
    """A share of a machine.

    Attributes:
        cores: numbers; empty for no limit.
        variables: of the environment, by which a process sees its GPU alone.
    """

    cores: frozenset[int]
    variables: Mapping[str, str]


def machine_shares(
    count: int,
    *,
    environment: Mapping[str, str] = os.environ,
    devices: pathlib.Path = pathlib.Path("/dev"),
) -> list[MachineShare]:
    """Returns the shares of `count` processes at a time.

    Cores are divided evenly. GPUs are given out in turn; of more processes than GPUs,
    those on one GPU share its memory. A single process has the whole machine.

    Args:
        count: of processes, 1 or more.
        environment: `CUDA_VISIBLE_DEVICES` there names the GPUs that may be used.
        devices: the folder of device files, which tells the number of GPUs otherwise.
    """
    if count == 1:
        return [MachineShare(frozenset(), {})]
    gpus = _gpus(environment, devices)
    return [
        MachineShare(_cores(slot, count), _variables(gpus, slot, count))
        for slot in range(count)
    ]


def _cores(slot: int, count: int) -> frozenset[int]:
    if not hasattr(os, "sched_setaffinity"):
        return frozenset()
    cores = sorted(os.sched_getaffinity(0))
    return frozenset(cores[slot::count] or cores)


def _variables(gpus: list[str], slot: int, count: int) -> dict[str, str]:
    if not gpus:
        return {}
    number = slot % len(gpus)
    together = len(range(number, count, len(gpus)))
    return {
        "CUDA_VISIBLE_DEVICES": gpus[number],
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{_OF_MEMORY / together:.3f}",
    }


def _gpus(environment: Mapping[str, str], devices: pathlib.Path) -> list[str]:
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*"))
    return sorted((match[1] for match in found if match), key=int)
