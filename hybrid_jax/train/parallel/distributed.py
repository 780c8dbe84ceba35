"""Joining the other processes of a run, where there are any."""

import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from hybrid_jax.errors import UserError

# A process that has sent no heartbeat for so long is dead, and the others end. JAX's own
# 100 left them waiting for up to 91 s.
_HEARTBEAT_TIMEOUT_SECONDS = 20


def join() -> None:
    """Starts `jax.distributed` if the environment says this is one of several processes.

    Known environments: `HJ_COORDINATOR` (host:port) with `HJ_NUM_PROCESSES` and
    `HJ_PROCESS_ID`, set by the launch scripts; `HJ_DISTRIBUTED=1` for machines JAX
    recognizes by itself, such as TPU pods; and SLURM steps of more than one task.
    `HJ_EXPECTED_PROCESSES` is how many the launch script started. All processes end when
    one has been silent for `HJ_HEARTBEAT_TIMEOUT` seconds (20): more is for debuggers and
    machines that are put to sleep.

    Raises:
        UserError: the variables are incomplete or no whole numbers, or another number of
            processes joined.
    """
    if jax.distributed.is_initialized():
        return
    environment = os.environ
    if "HJ_COORDINATOR" in environment:
        try:
            count = int(environment["HJ_NUM_PROCESSES"])
            index = int(environment["HJ_PROCESS_ID"])
        except (KeyError, ValueError) as error:
            raise UserError(
                "HJ_COORDINATOR is set, so HJ_NUM_PROCESSES and HJ_PROCESS_ID must be "
                f"whole numbers; got {error}."
            ) from error
        jax.distributed.initialize(
            environment["HJ_COORDINATOR"],
            count,
            index,
            heartbeat_timeout_seconds=_heartbeat_timeout(environment),
        )
    elif environment.get("HJ_DISTRIBUTED") == "1" or _slurm_tasks(environment) > 1:
        jax.distributed.initialize(
            heartbeat_timeout_seconds=_heartbeat_timeout(environment)
        )
    _check_count(environment.get("HJ_EXPECTED_PROCESSES"))


def is_main_process() -> bool:
    """Whether this process is the one that writes logs and reports."""
    return jax.process_index() == 0


def sum_over_processes(count: int) -> int:
    """Adds up a count every process has kept for itself; all of them must ask."""
    return int(multihost_utils.process_allgather(np.array(count)).sum())


def from_main_process(make: Callable[[], Any]) -> Any:
    """Returns on every process what the main one makes, sent as JSON; all must ask."""
    if jax.process_count() == 1:
        return make()
    text = json.dumps(make()).encode() if is_main_process() else b""
    length = int(multihost_utils.broadcast_one_to_all(np.array(len(text))))
    padded = np.frombuffer(text.ljust(length, b" "), np.uint8)
    sent = multihost_utils.broadcast_one_to_all(padded)
    return json.loads(np.asarray(sent, np.uint8).tobytes())


def _heartbeat_timeout(environment) -> int:
    text = environment.get("HJ_HEARTBEAT_TIMEOUT", str(_HEARTBEAT_TIMEOUT_SECONDS))
    if not text.isdecimal() or int(text) < 2:
        raise UserError(
            f"HJ_HEARTBEAT_TIMEOUT: a whole number of seconds from 2 is expected, got "
            f"{text!r}. Without it, it is {_HEARTBEAT_TIMEOUT_SECONDS}."
        )
    return int(text)


def _slurm_tasks(environment) -> int:
    if "SLURM_STEP_NODELIST" not in environment:
        return 1
    return int(environment.get("SLURM_NTASKS", "1"))


def _check_count(expected: str | None) -> None:
    """Raises `UserError` where hosts would train by themselves, or without some others."""
    if expected and expected != str(jax.process_count()):
        raise UserError(
            f"HJ_EXPECTED_PROCESSES: got {jax.process_count()} process(es) in this run, "
            f"expected {expected}. Look into the logs of the hosts for one that did not "
            f"start, and compare the number of hosts with what was asked for."
        )
