"""What a lowered program is made of, read from its operations."""

import collections
import dataclasses
import re

import jax

_WIDE = re.compile(r"(?:\b|x)(?:f64|i64|ui64|complex<f64>)\b")
_FLOAT = re.compile(r"(?:\b|x)b?f\d")
_GATHERS = ("stablehlo.gather", "stablehlo.dynamic_gather")
# JAX itself numbers random bits in 64 bits, whatever dtype they are wanted in.
_COUNTERS = "iota_2x32_shape"
_FILE = re.compile(r'"[^"]*/((?:hybrid_jax|optax)/[\w/]+\.py)"')


@dataclasses.dataclass(frozen=True)
class Program:
    """The operations of one program; one inside a loop or a branch counts once.

    Attributes:
        calls: target of a custom call -> how often it stands in the program.
        wide: types of 64 bits, but for the counters of random numbers, with their file.
        scatters: files whose lines, or the gradients of them, are scatters.
        gathers: files whose lines gather floats: their gradients would be scatters.
    """

    calls: collections.Counter
    wide: frozenset[tuple[str, str]]
    scatters: frozenset[str]
    gathers: frozenset[str]

    def fused_attention(self) -> tuple[int, int]:
        """Returns the calls of cuDNN's attention, (forward, backward)."""
        fused = {k: n for k, n in self.calls.items() if k.startswith("__cudnn$fmha")}
        backward = sum(n for name, n in fused.items() if name.endswith("Backward"))
        return sum(fused.values()) - backward, backward


def read(lowered: jax.stages.Lowered) -> Program:
    """Reads what `jax.jit(...).trace(...).lower()` gave."""
    operations = lowered.compiler_ir("stablehlo").body.operations
    functions = {_text(f.attributes["sym_name"]): f.operation for f in operations}
    calls, wide, scatters, gathers = collections.Counter(), set(), set(), set()
    for operation, file in _executed(functions["main"], functions, "nowhere"):
        if operation.name == "stablehlo.custom_call":
            calls[_text(operation.attributes["call_target_name"])] += 1
        elif operation.name == "stablehlo.scatter":
            scatters.add(file)
        elif operation.name in _GATHERS and _FLOAT.search(str(operation.operands[0].type)):
            gathers.add(file)
        types = [str(result.type) for result in operation.results]
        types = [name for name in types if _WIDE.search(name)]
        if types and _COUNTERS not in str(operation.location):
            wide.update((name, file) for name in types)
    return Program(calls, frozenset(wide), frozenset(scatters), frozenset(gathers))


def _executed(function, functions, called_from):
    """Yields (operation, its file) of a function and of those that it calls.

    JAX lowers equal operations once, as functions that do not know where they come from:
    their place is that of the call.
    """
    for operation in _inside(function):
        file = called_from
        if operation.name in ("stablehlo.scatter", "func.call", *_GATHERS):
            found = _FILE.search(str(operation.location))
            file = found[1] if found else called_from
        yield operation, file
        if operation.name == "func.call":
            name = _text(operation.attributes["callee"]).lstrip("@")
            yield from _executed(functions[name], functions, file)


def _inside(operation):
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from _inside(inner.operation)


def _text(attribute) -> str:
    return str(attribute).strip('"')
