"""Cores and GPUs of several runs at a time."""

import os

import pytest

from hybrid_jax.studies.planning.machine_share import machine_shares


def shares(count, tmp_path, *, gpus=(), visible=None):
    for number in gpus:
        (tmp_path / f"nvidia{number}").touch()
    (tmp_path / "nvidiactl").touch()
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return machine_shares(count, environment=environment, devices=tmp_path)


def test_one_run_has_the_whole_machine(tmp_path):
    (share,) = shares(1, tmp_path, gpus=(0, 1))
    assert (share.cores, share.variables) == (frozenset(), {})


def test_cores_are_divided_without_a_gpu(tmp_path):
    found = shares(2, tmp_path)
    assert all(not share.variables for share in found)
    cores = os.sched_getaffinity(0)
    assert frozenset.union(*(share.cores for share in found)) == cores
    if len(cores) > 1:
        assert not found[0].cores & found[1].cores


@pytest.mark.parametrize(
    ("gpus", "visible", "expected"),
    [
        ((0, 1), None, ["0", "1", "0"]),
        ((0, 1, 2, 10), None, ["0", "1", "2"]),
        ((0, 1), "1", ["1", "1", "1"]),
        ((0, 1), "", [None, None, None]),
        ((), "GPU-a, GPU-b", ["GPU-a", "GPU-b", "GPU-a"]),
    ],
)
def test_gpus_are_given_out_in_turn(tmp_path, gpus, visible, expected):
    found = shares(3, tmp_path, gpus=gpus, visible=visible)
    named = [share.variables.get("CUDA_VISIBLE_DEVICES") for share in found]
    assert named == expected


def test_runs_on_one_gpu_share_its_memory(tmp_path):
    found = shares(3, tmp_path, gpus=(0, 1))
    fractions = [float(s.variables["XLA_PYTHON_CLIENT_MEM_FRACTION"]) for s in found]
    assert fractions == [0.45, 0.9, 0.45]
