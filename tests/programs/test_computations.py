"""How often computations run: loops of JAX's programs, and the TPU compiler's by hand."""

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.programs.collectives import collectives
from hybrid_jax.programs.computations import computations, executions
from hybrid_jax.programs.estimated_cycles import CYCLES_PER_SECOND, estimated_seconds

# As the TPU compiler writes a product in parts, shortened.
PROGRAM = """HloModule m

%body (p: (f32[8], u32[], /*index=2*/u32[])) -> (f32[8], u32[], u32[]) {
  %p = (f32[8]{0:T(128)}, u32[]{:T(128)}, /*index=2*/u32[]{:T(128)}) parameter(0)
  %x = f32[8]{0:T(128)} get-tuple-element(%p), index=0
  %moved = f32[8]{0} collective-permute(%x), channel_id=1, source_target_pairs={{0,1}}
  %sum = f32[8]{0} fusion(%moved), calls=%inner, config={"estimated_cycles":"30"}
  %i = u32[]{:T(128)} get-tuple-element(%p), index=1
  %i.1 = u32[]{:T(128)S(6)} copy(%i)
  %step = u32[]{:T(128)} constant(STEP)
  %more = u32[]{:T(128)} ADD(INDEX, %step)
  ROOT %next = (f32[8], u32[], u32[]) tuple(%sum, %more, %j)
}

%condition (p.1: (f32[8], u32[], u32[])) -> pred[] {
  %limit = u32[]{:T(128)} constant(7)
  %p.1 = (f32[8]{0}, u32[]{:T(128)}, u32[]) parameter(0)
  %at = u32[]{:T(128)} get-tuple-element(%p.1), index=1
  %at.1 = u32[]{:T(128)S(6)} copy(%at)
  ROOT %again = pred[]{:T(512)} compare(COMPARED, %limit), direction=DIRECTION
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %zero = u32[]{:T(128)} constant(3), metadata={op_name="x"}
  %copied = u32[]{:T(128)} copy(%zero)
  %in = (f32[8]{0}, u32[], /*index=2*/u32[]) tuple(%a, COUNTER, %zero)
  %loop = (f32[8]{0}, u32[], u32[]) while(%in), condition=%condition, body=%body
  ROOT %out = f32[8]{0} get-tuple-element(%loop), index=0, c={"estimated_cycles":"5"}
}
"""


def program(**changes):
    """Returns the program with another first count, end, or step of its loop."""
    usual = dict(counter="%copied", direction="LT", step=1, add="add", index="%i")
    text = PROGRAM
    for name, value in (usual | dict(compared="%at") | changes).items():
        text = text.replace(name.upper(), str(value))
    return text


@pytest.mark.parametrize("counter", ["%copied", "%zero"])
@pytest.mark.parametrize(("step", "rounds"), [(1, 4), (2, 2), (3, 2)])
def test_a_loop_runs_from_its_first_count_to_its_limit(counter, step, rounds):
    """3, 4, 5, 6; 3, 5; or 3, 6. The TPU compiler's unrolled loops count by two."""
    text = program(counter=counter, step=step)
    assert executions(computations(text))["body"] == rounds
    (moved,) = collectives(text)
    assert (moved.times, moved.received_bytes) == (rounds, rounds * 32)
    assert estimated_seconds(text) == (rounds * 30 + 5) / CYCLES_PER_SECOND


@pytest.mark.parametrize("moved", [dict(index="%i.1"), dict(compared="%at.1")], ids=str)
def test_a_counter_may_be_moved_on_the_chip(moved):
    """As in the forward loop of blocks that are computed again in the backward one."""
    assert executions(computations(program(**moved)))["body"] == 4


@pytest.mark.parametrize(
    "change",
    [dict(counter="%a"), dict(direction="NE"), dict(add="multiply"), dict(step=-1)],
)
def test_a_loop_of_unknown_length_counts_once(change):
    assert executions(computations(program(**change)))["body"] == 1


def test_loops_within_loops_multiply_and_a_cpu_has_no_estimate():
    def inner(x, _):
        return jnp.sin(x) @ x, None

    def outer(x, _):
        return jax.lax.scan(inner, x, length=3)[0], None

    def nested(x):
        return jax.lax.scan(outer, x, length=5)[0]

    text = jax.jit(nested).lower(jnp.zeros((4, 4))).compile().as_text()
    read = computations(text)
    (product,) = [
        name
        for name, instructions in read.items()
        if any(one.opcode == "dot" for one in instructions)
    ]
    assert executions(read)[product] == 15
    assert estimated_seconds(text) is None
