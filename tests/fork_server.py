"""Runs commands in forks of one process that has imported the library already.

    python fork_server.py SOCKET

Importing takes a process longer than a small run does. Requests are JSON over the socket of
that file descriptor, see `forked_process.py`; the server ends when the socket is closed. It
starts no backend of JAX, so every fork starts its own, under its own flags.
"""

import array
import gc
import json
import os
import runpy
import signal
import socket
import sys

_FILES = 3  # of a request: standard output, standard error, where the status is told
_LARGEST = 1 << 20  # bytes of a request


def main() -> None:
    """Answers requests until there can be no more; returns in the fork that runs one."""
    # What every command imports and reads sooner or later.
    import hybrid_jax.train.loop  # noqa: F401
    from hybrid_jax.data.sources.digits import all_digits

    all_digits()
    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        text, files, *_ = socket.recv_fds(requests, _LARGEST, _FILES)
        if not text:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            _wait_for_a_fork(files)
            _become(json.loads(text), files)
            return
        for file in files:
            os.close(file)


def _wait_for_a_fork(files: list[int]) -> None:
    """Returns in a fork; the process itself tells its id, then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    started = os.fork()
    if started == 0:
        return
    told = files[-1]
    for file in files[:-1]:
        os.close(file)
    os.write(told, array.array("q", [started]).tobytes())
    _, status = os.waitpid(started, 0)
    os.write(told, array.array("q", [os.waitstatus_to_exitcode(status)]).tobytes())
    os._exit(0)


def _become(request: dict, files: list[int]) -> None:
    """Makes this process what `python WORDS` would be before its first line."""
    output, error, told = files
    os.dup2(output, sys.stdout.fileno())
    os.dup2(error, sys.stderr.fileno())
    for file in (output, error, told):
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.orig_argv = request["words"]
    # This script's folder stood first, then what PYTHONPATH was.
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    others = [path for path in sys.path[1:] if path not in paths]
    sys.path[:] = [os.getcwd(), *paths, *others]
    sys.argv = request["words"][1:]


if __name__ == "__main__":
    main()
    kind, what = sys.argv[:2]
    sys.argv = [kind, *sys.argv[2:]]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
