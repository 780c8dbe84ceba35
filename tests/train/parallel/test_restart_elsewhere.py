"""A state moves between numbers of processes and meshes without losing a bit."""

import json
import os
import pathlib
import sys

import numpy as np
import pytest
from etils import epath
from several_processes import ended_well, start_several
from small_run import ROOT
from train_examples import (
    assert_trees_equal,
    on_host,
    run_steps,
    small_experiment,
)

from hybrid_jax.train.checkpoints.checkpoint import Checkpoints

# SGD: Adam divides rounding errors by small numbers.
CHANGES = {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "train.ema_decay": 0.9}

# argv: the workdir it reads, the one it writes, the mesh.
SCRIPT = """
import json, sys
from hybrid_jax.train.parallel.distributed import is_main_process, join
join()
from test_restart_elsewhere import CHANGES, load, save
from train_examples import run_steps, small_experiment
experiment = small_experiment(CHANGES, mesh=sys.argv[3])
save(sys.argv[2], load(sys.argv[1], experiment))
scalars = run_steps(experiment, 3)[1]
if is_main_process():
    print(json.dumps([values["loss"] for values in scalars]))
"""


def load(workdir, experiment):
    with Checkpoints(epath.Path(workdir), keep=1, best_metric="") as checkpoints:
        return checkpoints.restore(experiment.shapes, experiment.shardings)


def save(workdir, state):
    with Checkpoints(epath.Path(workdir), keep=1, best_metric="") as checkpoints:
        checkpoints.save(2, state)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """A workdir saved on one device after two steps, its state, and three losses."""
    workdir = tmp_path_factory.mktemp("one_process")
    experiment = small_experiment(CHANGES, mesh="single")
    state, _ = run_steps(experiment, 2)
    save(workdir, state)
    losses = [values["loss"] for values in run_steps(experiment, 3)[1]]
    return workdir, on_host(state), losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "mesh"),
    [(2, "fsdp8"), (2, "tensor2"), (4, "data8"), (4, "data2_fsdp2_tensor2")],
)
def test_processes_read_write_and_train_as_one_device(one_process, tmp_path, count, mesh):
    workdir, state, losses = one_process
    folders = [ROOT, ROOT / "tests", *pathlib.Path(__file__).parents[:2]]
    processes = start_several(
        [sys.executable, "-c", SCRIPT, str(workdir), str(tmp_path / "copy"), mesh],
        tmp_path,
        count=count,
        devices=8 // count,
        PYTHONPATH=os.pathsep.join(map(str, folders)),
    )
    printed = ended_well(processes, tmp_path)
    copied = load(tmp_path / "copy", small_experiment(CHANGES, mesh="tensor2"))
    assert_trees_equal(on_host(copied), state)
    found = json.loads(printed[0].splitlines()[-1])
    np.testing.assert_allclose(found, losses, rtol=1e-5)
