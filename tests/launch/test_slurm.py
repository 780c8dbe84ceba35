"""slurm.sbatch starts one process a GPU, or one a node with all of its GPUs."""

import shutil
import sys

import pytest
from stub_programs import LAUNCH, Stubs

ODD = ["--config=configs/x.py:fusion.strides=(16,32)", "--config.a=b c $d", "--workdir=/w"]
JOB = {"SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "4"}


@pytest.fixture
def stubs(tmp_path):
    stubs = Stubs(tmp_path, "srun")
    stubs.environment |= {**JOB, "HJ_PYTHON": sys.executable}
    stubs.environment |= {"SLURM_SUBMIT_DIR": str(LAUNCH.parent)}
    return stubs


def srun(stubs, **variables) -> list[str]:
    environment = stubs.environment | variables
    stubs.run_well("slurm.sbatch", *ODD, env=environment)
    (call,) = stubs.calls()
    assert call[-len(ODD) - 3 :] == [sys.executable, "-m", "hybrid_jax.main", *ODD]
    return call


def test_one_process_for_each_gpu(stubs):
    call = srun(stubs)
    assert {"--nodes=2", "--ntasks=8", "--ntasks-per-node=4"} <= set(call)
    assert {"--gpu-bind=none", "--kill-on-bad-exit=1"} <= set(call)
    assert "HJ_EXPECTED_PROCESSES=8" in call
    assert not any(word.startswith("JAX_LOCAL_DEVICE_IDS") for word in call)


def test_one_process_for_each_node(stubs):
    call = srun(stubs, HJ_TASKS="node")
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1"} <= set(call)
    assert {"HJ_EXPECTED_PROCESSES=2", "JAX_LOCAL_DEVICE_IDS=0,1,2,3"} <= set(call)


def test_it_works_from_where_slurm_copies_it(stubs, tmp_path):
    copy = shutil.copy(LAUNCH / "slurm.sbatch", tmp_path / "slurm_script")
    stubs.run_well(str(copy), *ODD)
    assert len(stubs.calls("srun")) == 1
    elsewhere = stubs.environment | {"SLURM_SUBMIT_DIR": str(tmp_path)}
    done = stubs.run(str(copy), *ODD, env=elsewhere)
    assert done.returncode == 2
    assert "is not the root of a checkout" in done.stderr


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["--config=c"], {}, "--workdir is missing"),
        (ODD, {"HJ_TASKS": "rack"}, "HJ_TASKS: got 'rack', expected gpu or node"),
        (ODD, {"HJ_PYTHON": "false"}, "HJ_PYTHON: 'false' is not a Python from 3.11 on"),
    ],
)
def test_mistakes_are_told(stubs, words, variables, message):
    done = stubs.run("slurm.sbatch", *words, env=stubs.environment | variables)
    assert done.returncode == 2
    assert message in done.stderr
    assert stubs.calls() == []


def test_options_of_the_job_come_before_the_manual():
    lines = (LAUNCH / "slurm.sbatch").read_text().splitlines()
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert options == list(range(1, len(options) + 1))
    assert "#SBATCH --signal=TERM@180" in lines
