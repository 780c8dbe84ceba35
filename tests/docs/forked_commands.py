"""Runs commands of hybrid_jax and blocks of Python, each in a fork of one process.

    python forked_commands.py STEPS.json

Libraries are imported once, which is most of the cost of a small run. STEPS.json is a
list of {"words": [...]} and {"python": "...", "before": "..."}; `before` is run before the
block. Ends with 1 after the first that fails.
"""

import json
import os
import pathlib
import runpy
import sys
import traceback


def run(step: dict) -> None:
    """Runs one step as a process of its own would."""
    if "python" in step:
        names: dict = {}
        exec(step["before"], names)
        exec(compile(step["python"], "README.md", "exec"), names)
        return
    python, dash_m, module, *rest = step["words"]
    assert (python, dash_m) == ("python", "-m")
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(path: str) -> None:
    """Runs all steps in order."""
    # What every command imports sooner or later; none of it starts a backend.
    import hybrid_jax.train.loop  # noqa: F401

    for step in json.loads(pathlib.Path(path).read_text()):
        print("$", " ".join(step.get("words", ["python"])), flush=True)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(step)
                code = 0
            except SystemExit as error:
                code = int(error.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status):
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
