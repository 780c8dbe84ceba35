"""How training steps are divided over eight devices: counts from the compiler."""

import jax
import pytest
from partition import ROWS, partition_of
from small_run import small_config
from train_examples import MESHES

from hybrid_jax.data.placeholder_source import StandIn
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.train.experiment import prepare

# The first layer's values are of learned queries, the same for all examples. For the
# gradient of their projection the compiler gathers what comes back, once a step.
KNOWN = {"detr": 1}

FOUR_STAGES = {"resnet_options.blocks": (1, 1, 1, 1)}


@pytest.fixture(autouse=True)
def _compile_again():
    """A program from the cache would not repeat the partitioner's warnings."""
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def partition(mesh, capfd, *, head="linear", **model):
    changes = {f"mesh.{axis}": size for axis, size in MESHES[mesh].items()}
    changes |= {f"model.{name}": value for name, value in model.items()}
    changes |= {
        "train.batch_size": ROWS,
        "mesh.fsdp_min_elements": 2**8,
        "task.name": HEADS.get(head).task,
        "model.head": head,
        "data.image_size": 64,
    }
    config = small_config({"model.vit_options.depth": 1} | changes)
    return partition_of(prepare(config, source=StandIn()), capfd)


def check_examples_stay(found):
    assert not found.gathered_examples()
    assert not found.warnings
    assert "all-gather" in {one.op for one in found.collectives}


def test_data_parallel_steps_only_add_up(capfd):
    found = partition("data8", capfd)
    assert {one.op for one in found.collectives} == {"all-reduce"}


# With `fsdp8` alone, too: the two streams below.
@pytest.mark.parametrize(
    "mesh", [pytest.param("fsdp8", marks=pytest.mark.slow), "data2_fsdp2_tensor2"]
)
def test_examples_stay_where_they_are(mesh, capfd):
    check_examples_stay(partition(mesh, capfd))


def test_examples_stay_where_they_are_in_a_loop_of_blocks(capfd):
    loop = {"vit_options.block_loop": "scan", "vit_options.depth": 2}
    found = partition("fsdp8", capfd, **loop)
    check_examples_stay(found)
    gathers = [one for one in found.collectives if one.op == "all-gather"]
    assert all(one.times == 1 for one in gathers)  # before the loops, not in each round


def test_two_streams_stay_where_they_are(capfd):
    # Without `step_params.put_together` the compiler moves rows of this one.
    stages = {"resnet_options.blocks": (1, 1)}
    check_examples_stay(partition("fsdp8", capfd, fusion="mobile_former", **stages))


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_examples_of_every_fusion_stay_where_they_are(fusion, capfd):
    check_examples_stay(partition("fsdp8", capfd, fusion=fusion, **FOUR_STAGES))


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS.names())
def test_examples_under_every_head_stay_where_they_are(head, capfd):
    found = partition("fsdp8", capfd, head=head, fusion="rtdetr_encoder", **FOUR_STAGES)
    assert len(found.gathered_examples()) <= KNOWN.get(head, 0)
    assert not found.warnings


# What a loop of blocks changes, the loop above shows by default.
@pytest.mark.parametrize(
    ("block_loop", "depth"),
    [("unrolled", 1), pytest.param("scan", 2, marks=pytest.mark.slow)],
)
def test_attention_is_split_by_heads_without_exchanges(block_loop, depth, capfd):
    loop = {"vit_options.block_loop": block_loop, "vit_options.depth": depth}
    vit = {"fusion": "vit", "vit_options.patch_size": 8}
    found = partition("tensor2", capfd, **vit, **loop)
    moved = [one for one in found.collectives if one.op != "all-reduce"]
    assert not moved, "\n".join(f"{one.op} {one.shape} of {one.name}" for one in moved)
