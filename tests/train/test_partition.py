"""How training steps are divided over eight devices: counts from the compiler."""

import pytest
from partition import ROWS, partition_of
from small_run import small_config
from train_examples import MESHES

from hybrid_jax.train.experiment import prepare


@pytest.fixture(autouse=True)
def _compile_again(monkeypatch):
    """A program from the cache would not repeat the partitioner's warnings."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def partition(mesh, capfd, **changes):
    config = small_config(
        {
            "train.batch_size": ROWS,
            "eval.batch_size": ROWS,
            "mesh.fsdp_min_elements": 2**8,
            **{f"mesh.{axis}": size for axis, size in MESHES[mesh].items()},
            **changes,
        }
    )
    return partition_of(prepare(config), capfd)


def test_data_parallel_steps_only_add_up(capfd):
    found = partition("data8", capfd)
    assert {one.op for one in found.collectives} == {"all-reduce"}


@pytest.mark.parametrize("mesh", ["fsdp8", "data2_fsdp2_tensor2"])
def test_examples_stay_where_they_are(mesh, capfd):
    found = partition(mesh, capfd)
    assert not found.gathered_examples()
    assert not found.warnings
    assert "all-gather" in {one.op for one in found.collectives}


def test_attention_is_split_by_heads_without_exchanges(capfd):
    found = partition("tensor2", capfd)
    moved = [one for one in found.collectives if one.op != "all-reduce"]
    assert not moved, "\n".join(f"{one.op} {one.shape} of {one.name}" for one in moved)
