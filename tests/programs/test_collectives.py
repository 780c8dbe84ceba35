"""Collectives read from programs' text: each notation by hand, and from real compilers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hybrid_jax.programs.collectives import collectives


def module(*lines):
    body = "\n".join(f"  {line}" for line in lines)
    return f"HloModule m\n\nENTRY %main (p: f32[4]) -> f32[4] {{\n{body}\n}}\n"


def one(line):
    (found,) = collectives(module(line))
    return found


GATHER = (
    "%g = bf16[768,3072]{1,0:T(8,128)(2,1)S(1)} all-gather(%p), channel_id=3, "
    "replica_groups=GROUPS, dimensions={0}, "
    'metadata={op_name="jit(step)/dot_general" stack_frame_id=2}'
)


@pytest.mark.parametrize(
    ("groups", "peers"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", (0, 1, 2, 3)),
        ("[2,4]<=[8]", (0, 1, 2, 3)),
        ("[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("mesh['a'=8,'b'=1] {'a'}", tuple(range(8))),
        ("mesh['a'=4,'b'=1,'c'=2], device_ids=([2,4]T(1,0)) {'a'}", (0, 1, 2, 3)),
        ("mesh['a'=2,'b'=4] {'a'}", (0, 4)),
        ("mesh['a'=2,'b'=4] {'a','b'}", tuple(range(8))),
        ("mesh['a'=8] {'a':(2)2}", (0, 2)),
    ],
)
def test_groups_in_every_notation(groups, peers):
    found = one(GATHER.replace("GROUPS", groups))
    assert found.peers == peers
    assert (found.op, found.shape) == ("all-gather", "bf16[768,3072]")
    assert found.bytes == 2 * 768 * 3072
    assert found.name == "jit(step)/dot_general"
    n = len(peers)
    assert found.received_bytes == found.bytes * (n - 1) // n


def test_axes_are_those_along_which_peers_differ():
    mesh = dict(data=2, fsdp=2, tensor=2)
    for groups, axes in (
        ("{{0,1},{2,3}}", ("tensor",)),
        ("{{0,2},{1,3}}", ("fsdp",)),
        ("{{0,2,4,6},{1,3,5,7}}", ("data", "fsdp")),
        ("{{0,1,2,3,4,5,6,7}}", ("data", "fsdp", "tensor")),
        ("{}", ()),
    ):
        assert one(GATHER.replace("GROUPS", groups)).axes(mesh) == axes


@pytest.mark.parametrize(
    ("line", "op", "size"),
    [
        (
            "%s = (bf16[96,8]{1,0}, bf16[768,8]{1,0}) all-gather-start(%p), "
            "replica_groups={{0,1}}, dimensions={0}",
            "all-gather",
            2 * 768 * 8,
        ),
        (
            "%s = ((f32[2,3], f32[5]), (f32[4,3]{1,0:T(8,128)}, /*index=1*/f32[10])) "
            "all-gather-start(%p, %q), replica_groups={{0,1}}, dimensions={0}",
            "all-gather",
            4 * (12 + 10),
        ),
        (
            "%s = (f32[], s8[7]{0}, pred[3]) all-reduce-start(%a, %b, %c), to_apply=%add",
            "all-reduce",
            4 + 7 + 3,
        ),
        (
            "%s = (bf16[3,8]{1,0}, bf16[3,8]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) "
            "collective-permute-start(%p), channel_id=4, source_target_pairs={{0,7},{1,0}}",
            "collective-permute",
            2 * 24,
        ),
        (
            "%s = ((f32[16]{0}), f32[2]{0}, u32[]) reduce-scatter-start(%p), "
            "replica_groups={{0,1}}, to_apply=%add",
            "reduce-scatter",
            8,
        ),
        (
            "ROOT %s = (f32[16,64], f32[16,64]) all-to-all(%a, %b), replica_groups={{0,1}}",
            "all-to-all",
            2 * 4 * 16 * 64,
        ),
    ],
    ids=lambda x: x if isinstance(x, str) and " " not in x else "",
)
def test_results_of_started_and_of_many_valued_ones(line, op, size):
    found = one(line)
    assert (found.op, found.bytes) == (op, size)


def test_the_end_of_a_started_one_is_not_a_second_one():
    text = module(
        "%s = (f32[1], f32[2]) all-gather-start(%p), channel_id=1, replica_groups={{0,1}}",
        "%d = f32[2] all-gather-done(%s)",
        "%f = f32[2] fusion(%d), kind=kLoop, calls=%all-gather-like",
    )
    assert len(collectives(text)) == 1


def test_one_channel_repeated_in_fusions_is_one_collective():
    gather = (
        "  %g.{} = f32[8]{{0}} all-gather(%p), channel_id={}, replica_groups={{{{0,1}}}}"
    )
    fusions = "".join(
        f"%async_collective_fusion.{i} (p: f32[4]) -> f32[8] {{\n"
        f"{gather.format(i, channel)}\n}}\n\n"
        for i, channel in enumerate((5, 5, 6, 5))
    )
    assert len(collectives(f"HloModule m\n\n{fusions}")) == 2


def test_a_sum_of_which_a_fusion_keeps_a_slice_is_a_scatter():
    text = (
        "HloModule m\n\n%all-reduce-scatter.1 (p: f32[8]) -> f32[4] {\n"
        "  %r = f32[8]{0} all-reduce(%p), channel_id=5, replica_groups={{0,1}}, "
        "to_apply=%add\n  ROOT %d = f32[4]{0} dynamic-slice(%r, %i)\n}\n"
    )
    (found,) = collectives(text)
    assert (found.op, found.bytes, found.received_bytes) == ("reduce-scatter", 16, 16)


def mesh_of(**axes):
    return jax.make_mesh(
        tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes)
    )


def test_a_real_gather_and_a_real_sum():
    axes = dict(data=2, fsdp=4)
    mesh = mesh_of(**axes)

    def placed(*spec):
        return NamedSharding(mesh, PartitionSpec(*spec))

    def loss(w, x):
        w = jax.lax.with_sharding_constraint(w, placed())
        return jnp.square(jnp.tanh(x @ w)).sum()

    weights = jax.ShapeDtypeStruct((256, 128), jnp.float32, sharding=placed("fsdp"))
    rows = jax.ShapeDtypeStruct((64, 256), jnp.float32, sharding=placed(("data", "fsdp")))
    found = collectives(jax.jit(jax.grad(loss)).lower(weights, rows).compile().as_text())
    gather, total = sorted(found, key=lambda c: c.op)[:2]
    assert (gather.op, gather.bytes) == ("all-gather", 4 * 256 * 128)
    assert gather.axes(axes) == ("fsdp",)
    assert total.op in ("all-reduce", "reduce-scatter")
    assert total.axes(axes) == ("data", "fsdp")


def test_a_loop_counts_as_often_as_it_runs():
    mesh = mesh_of(data=8)

    def body(carry, x):
        return jax.lax.psum(carry * x, "data"), None

    def scanned(carry, xs):
        return jax.lax.scan(body, carry, xs)[0]

    mapped = jax.shard_map(
        scanned,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    shapes = (np.zeros(6, np.float32), np.zeros((5, 6), np.float32))
    text = jax.jit(mapped).lower(*shapes).compile().as_text()
    (found,) = collectives(text)
    assert (found.times, found.bytes) == (5, 24)
    assert found.received_bytes == 5 * 2 * 24 * 7 // 8
