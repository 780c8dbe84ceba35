"""The command line as a user runs it, on a model small enough to try often.

Each command is a process of its own with as many pretend devices as it asks for: a fork of
one that has imported the library, see `forked_process.py`. They share the compilation cache
of `conftest.py`, so only the first one compiles.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import small_experiment
from forked_process import ForkedProcess
from ml_collections import ConfigDict
from quick_compile import xla_flags

ROOT = pathlib.Path(__file__).parents[1]
MAIN = (sys.executable, "-m", "hybrid_jax.main")
TIMEOUT = 300  # seconds; a command takes about eight

# Everything in a step and in the data that draws a random number.
RANDOM: dict[str, Any] = {
    "data.crop": "random_resized",
    "data.randaugment_layers": 1,
    "task.flip": 0.5,
    "task.erase": 0.3,
    "task.mixup": 0.4,
    "task.cutmix": 0.4,
    "model.vit_options.drop_path": 0.3,
    "model.vit_options.dropout": 0.1,
}


def small_config(changes: dict[str, Any] | None = None) -> ConfigDict:
    """Returns the experiment of `small_experiment.py`, changed by dotted keys."""
    config = small_experiment.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict(changes or {})
    return config


def command(
    workdir: pathlib.Path, changes: dict[str, Any] | None = None, *flags: str
) -> list[str]:
    """Returns the command line that runs `small_config(changes)` in `workdir`."""
    return [
        *MAIN,
        f"--config={small_experiment.__file__}",
        *(f"--config.{name}={value}" for name, value in (changes or {}).items()),
        f"--workdir={workdir}",
        *flags,
    ]


def environment(*, devices: int = 1, **more: str) -> dict[str, str]:
    """Returns this process's environment, with `devices` instead of eight."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/quick_start")]),
        "XLA_FLAGS": xla_flags(devices=devices),
        "JAX_PLATFORMS": "cpu",
        "HJ_CACHE": cache,
        **more,
    }


def run(
    words: list[str], *, devices: int = 1, forked: bool = True, **options
) -> subprocess.CompletedProcess:
    """Runs a command to its end.

    Args:
        forked: whether a command of hybrid_jax may be a fork, which is quicker. False for
            one that is to begin as a user's does.
    """
    options = dict(env=environment(devices=devices), timeout=TIMEOUT, cwd=None) | options
    if not (forked and _can_be_forked(words, options["env"])):
        return subprocess.run(words, capture_output=True, text=True, check=False, **options)
    timeout = options.pop("timeout")
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as error:
        process = ForkedProcess(words, stdout=output, stderr=error, **options)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        texts = [file.seek(0) or file.read() for file in (output, error)]
    return subprocess.CompletedProcess(words, status, *texts)


def _can_be_forked(words: list[str], variables: dict[str, str]) -> bool:
    """Whether it is a command of hybrid_jax that JAX, imported before, suits."""
    read_at_import = {
        name
        for name in {*os.environ, *variables}
        if name.startswith("JAX_") and os.environ.get(name) != variables.get(name)
    }
    return tuple(words[:3]) == MAIN and not read_at_import


def run_well(words: list[str], **options) -> subprocess.CompletedProcess:
    """Runs a command that must succeed."""
    done = run(words, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def start(
    words: list[str], *, output: pathlib.Path, **more: str
) -> subprocess.Popen | ForkedProcess:
    """Starts a command; what it prints goes to the file `output`."""
    variables = environment(**more)
    begin = ForkedProcess if _can_be_forked(words, variables) else subprocess.Popen
    with open(output, "w") as file:
        return begin(words, stdout=file, stderr=file, env=variables)


def wait_until(reached, *, process: ForkedProcess, output: pathlib.Path) -> None:
    """Returns as soon as `reached()`; fails if the process ends or hangs before."""
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"ended: {ended}\n{output.read_text()}")
        time.sleep(0.002)


def last_step(workdir: pathlib.Path) -> int:
    """Returns the last step that `metrics.jsonl` holds a whole row of, or 0."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return whole[-1]["step"] if whole else 0


def rows(workdir: pathlib.Path, split: str = "train") -> list[dict[str, Any]]:
    """Returns the rows of one split, without what depends on the clock."""
    clock = {"images_per_second", "seconds_per_step", "data_wait"}
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in row.items() if name not in clock}
        for row in map(json.loads, lines)
        if row["split"] == split
    ]


def saved_steps(workdir: pathlib.Path) -> list[int]:
    """Returns the steps that have a finished checkpoint."""
    names = [path.name for path in (workdir / "checkpoints").iterdir()]
    return sorted(int(name) for name in names if name.isdigit())
