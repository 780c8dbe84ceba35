"""One process's failure ends all of a run's: left alone, the others would wait for it."""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, TypedDict

import jax

# JAX shows its key-value store nowhere in public; Orbax and Grain take it from here, too.
from jax._src import distributed

from hybrid_jax.errors import UserError

_KEY = "hybrid_jax/failure"
_POLL_SECONDS = 1.0


class _Failure(TypedDict):
    """What a process tells the others: its index, the exit status, and why."""

    process: int
    status: int
    text: str


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Ends every process of the run as soon as one fails inside; alone, does nothing.

    The one that fails says why, tells the others through the coordinator and exits at once,
    without JAX's shutdown, which would wait minutes for processes that wait for this one.
    The others print what they were told and exit with the same status: 1, or 130 after
    Ctrl-C. A process that is killed tells nothing; that is noticed by its heartbeat, see
    `distributed.join`.
    """
    if not jax.distributed.is_initialized() or distributed.global_state.num_processes == 1:
        yield
        return
    done = threading.Event()
    watching = threading.Thread(target=_watch, args=(done,), daemon=True)
    watching.start()
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - Ctrl-C, too, must not leave the others
        done.set()
        _end(error)
    done.set()
    watching.join()  # the client must not be asked while JAX shuts it down


def _watch(done: threading.Event) -> None:
    while not done.wait(_POLL_SECONDS):
        failure = _told()
        if failure is not None:
            _say(_sentence(failure))
            _leave(failure["status"])


def _end(error: BaseException) -> None:
    process = distributed.global_state.process_id
    if isinstance(error, UserError):
        text = str(error)
    else:
        text = "".join(traceback.format_exception_only(error)).strip()
    status = 130 if isinstance(error, KeyboardInterrupt) else 1
    own = _Failure(process=process, status=status, text=text)
    first = _tell(own)
    if first["text"] == text:
        if not isinstance(error, UserError | KeyboardInterrupt):
            traceback.print_exception(error)
        _say(f"error: {text}")
    else:
        # What followed from it, mostly a lost connection.
        _say(f"{_sentence(first)}\nAfter that: {text}")
    _leave(first["status"])


def _tell(failure: _Failure) -> _Failure:
    """Makes a failure known, unless there was one before; returns the first."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _client().key_value_set(_KEY, json.dumps(failure))
        return failure
    return _told() or failure


def _told() -> _Failure | None:
    """Returns the first failure of any process, None without one or without coordinator."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        return json.loads(_client().key_value_try_get(_KEY))
    return None


def _client() -> Any:
    """Returns JAX's connection to the coordinator, whose type JAX does not publish."""
    client = distributed.global_state.client
    assert client is not None  # `failing_together` does nothing before `initialize`
    return client


def _sentence(failure: _Failure) -> str:
    process, text = failure["process"], failure["text"]
    return f"error: process {process} failed, so this one ends, too: {text}"


def _leave(status: int) -> None:
    if distributed.global_state.process_id == 0:
        time.sleep(2 * _POLL_SECONDS)  # the coordinator lives here, and the others ask it
    os._exit(status)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # whoever read the output may have left
        sys.stdout.flush()
        print(text, file=sys.stderr, flush=True)
