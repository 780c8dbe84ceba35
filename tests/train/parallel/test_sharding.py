"""Which array lies where, and what is refused before anything is compiled."""

import importlib.util
import re

import jax
import pytest
from jax.sharding import PartitionSpec
from small_run import ROOT, small_config

from hybrid_jax.errors import UserError
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.parallel import sharding
from hybrid_jax.train.parallel.sharding import check_batch_size, make_mesh
from hybrid_jax.train.state import path_name


def test_mesh_lets_one_axis_take_the_rest():
    assert dict(make_mesh(dict(data=-1, fsdp=2, tensor=1)).shape) == dict(
        data=4, fsdp=2, tensor=1
    )
    assert dict(make_mesh(dict(data=1, fsdp=-1, tensor=4)).shape) == dict(
        data=1, fsdp=2, tensor=4
    )


@pytest.mark.parametrize(
    ("data", "fsdp", "tensor"),
    [(3, 1, 1), (2, 2, 1), (16, 1, 1), (-1, 3, 1), (-1, -1, 1), (0, 1, 8), (-1, 0, 1)],
)
def test_mesh_that_does_not_cover_the_devices_is_refused(data, fsdp, tensor):
    expected = (
        f"config.mesh: data={data}, fsdp={fsdp}, tensor={tensor} does not cover the 8 "
        f"devices of this run exactly. Their product must be 8; set one axis to -1"
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        make_mesh(dict(data=data, fsdp=fsdp, tensor=tensor))


@pytest.mark.parametrize(
    ("rows", "advice"), [(30, "Use 28 or 32."), (3, "Use 4."), (5, "Use 4 or 8.")]
)
def test_batch_that_devices_cannot_share_is_refused_with_numbers_that_work(rows, advice):
    mesh = make_mesh(dict(data=2, fsdp=2, tensor=2))
    expected = (
        f"config.train.batch_size: {rows} rows cannot be spread evenly over the 4 "
        f"data-parallel devices (data x fsdp). {advice}"
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        check_batch_size("train.batch_size", rows, mesh)
    check_batch_size("train.batch_size", 8, mesh)


def test_micro_batch_must_divide_too():
    message = "train.batch_size: 16 rows in 4 micro-batches .* Use 32."
    with pytest.raises(UserError, match=message):
        prepare(small_config({"train.batch_size": 16, "train.accumulate": 4}))


@pytest.mark.parametrize(("rows", "even"), [(1, 4), (4, 4), (50, 52), (56, 56)])
def test_evaluation_batch_is_rounded_up_to_what_devices_share(rows, even):
    changes = {"train.batch_size": 16, "eval.batch_size": rows, "mesh.tensor": 2}
    assert prepare(small_config(changes)).config.eval.batch_size == even


@pytest.mark.parametrize("name", ["shapes_detection", "shapes_segmentation"])
def test_dense_configs_start_on_eight_devices(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"configs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = prepare(module.get_config()).config
    assert (config.train.batch_size, config.eval.batch_size) == (32, 56)


def specs(mesh: dict[str, int]) -> dict[str, PartitionSpec]:
    """Returns the placement of every array of a small hybrid's state, by path."""
    changes = {f"mesh.{axis}": size for axis, size in mesh.items()}
    changes["mesh.fsdp_min_elements"] = 2**11
    changes |= {"train.ema_decay": 0.9, "train.batch_size": 16}
    placed = prepare(small_config(changes)).shardings
    return {
        path_name(path): leaf.spec
        for path, leaf in jax.tree_util.tree_leaves_with_path(placed)
    }


def test_rules_place_the_parameters_of_both_parts():
    placed = specs(dict(data=2, fsdp=2, tensor=2))
    block = "params/backbone/vit/blocks/1"
    stage = "params/backbone/resnet/stages/0/blocks/0"
    assert {path: placed[path] for path in placed if path.startswith(block)} == {
        f"{block}/attn/out/bias": PartitionSpec(None),
        f"{block}/attn/out/kernel": PartitionSpec("tensor", None),  # 32 x 32: small
        f"{block}/attn/qkv/bias": PartitionSpec(None, "tensor"),
        f"{block}/attn/qkv/kernel": PartitionSpec("fsdp", None, "tensor"),
        f"{block}/mlp/fc1/bias": PartitionSpec("tensor"),
        f"{block}/mlp/fc1/kernel": PartitionSpec("fsdp", "tensor"),
        f"{block}/mlp/fc2/bias": PartitionSpec(None),
        f"{block}/mlp/fc2/kernel": PartitionSpec("tensor", "fsdp"),
        f"{block}/norm1/bias": PartitionSpec(None),
        f"{block}/norm1/scale": PartitionSpec(None),
        f"{block}/norm2/bias": PartitionSpec(None),
        f"{block}/norm2/scale": PartitionSpec(None),
    }
    assert placed[f"{stage}/conv2/kernel"] == PartitionSpec(None, None, None, "fsdp")
    assert placed[f"{stage}/conv3/kernel"] == PartitionSpec(None, None, None, "fsdp")
    assert placed[f"{stage}/norm1/scale"] == PartitionSpec(None)
    assert placed["step"] == PartitionSpec()


def test_axis_of_one_device_shards_nothing():
    placed = specs(dict(data=8, fsdp=1, tensor=1))
    used = {axis for spec in placed.values() for axis in spec} - {None}
    assert used <= {"tensor"}  # of one device


def test_moments_and_average_lie_where_their_parameters_do():
    placed = specs(dict(data=2, fsdp=2, tensor=2))
    params = {p.removeprefix("params/"): placed[p] for p in placed if p[:7] == "params/"}
    followers = 0
    for path, spec in placed.items():
        name = next((p for p in params if path.endswith(f"/{p}")), None)
        if name and not path.startswith("params/"):
            followers += 1
            assert spec == params[name], path
    assert followers == 3 * len(params)  # mu, nu and ema


def test_indivisible_dimensions_stay_whole():
    mesh = make_mesh(dict(data=1, fsdp=2, tensor=4))
    spec = sharding.array_spec(
        "params/vit/blocks/0/mlp/fc1/kernel", (999, 515), mesh, min_elements=2
    )
    assert spec == PartitionSpec(None, None)
    spec = sharding.array_spec(
        "params/vit/blocks/0/mlp/fc1/kernel", (998, 516), mesh, min_elements=2
    )
    assert spec == PartitionSpec("fsdp", "tensor")
