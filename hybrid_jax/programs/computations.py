"""The computations of a compiled program, read from its text, and how often each runs.

The text is that of `compiled.as_text()`, for any backend.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ([^=]*?) ([a-z][\w\-]*)\((.*)$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations)=(\{[^}]*\}|%?[\w.\-]+)"
)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: its name, without "%".
        shape: the shape of its result in HLO notation, without memory layouts.
        opcode: what it does, such as "all-gather" or "fusion".
        rest: its operands and attributes, as they are written.
        is_root: whether it is the result of its computation.
    """

    name: str
    shape: str
    opcode: str
    rest: str
    is_root: bool

    @property
    def operands(self) -> list[str]:
        """Names of its operands in order."""
        return re.findall(r"%([\w.\-]+)", self.rest.partition(")")[0])


Computations = Mapping[str, Sequence[Instruction]]


def computations(text: str) -> Computations:
    """Returns the instructions of every computation of a program.

    Args:
        text: an HLO module as text.
    """
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if header := _COMPUTATION.match(line):
            current = found.setdefault(header[1], [])
        elif match := _INSTRUCTION.match(line):
            root, name, shape, opcode, rest = match.groups()
            shape = re.sub(r"\{[^{}]*\}", "", shape)
            current.append(Instruction(name, shape, opcode, rest, root is not None))
    return found


def executions(found: Computations) -> dict[str, int]:
    """Returns how often each computation runs in one call of the program.

    The body of a loop runs as often as the compiler notes, or as its condition says: a
    counter that begins with a constant, goes up by one and stays below a constant, as
    the TPU compiler's own loops have it. The body of any other loop is counted once.
    """
    factors: dict[str, list[tuple[str, int]]] = {}
    for caller, instructions in found.items():
        for instruction in instructions:
            factor = _rounds(instruction, instructions, found)
            for called in _CALLED.findall(instruction.rest):
                for name in re.findall(r"[\w.\-]+", called):
                    factors.setdefault(name, []).append((caller, factor))
    runs: dict[str, int] = {}

    def count(name: str) -> int:
        if name not in runs:
            callers = factors.get(name, ())
            runs[name] = max((f * count(caller) for caller, f in callers), default=1)
        return runs[name]

    return {name: count(name) for name in found}


def _rounds(
    loop: Instruction, neighbors: Sequence[Instruction], found: Computations
) -> int:
    """Returns how often the body of a loop runs; 1 for anything that is no loop."""
    if loop.opcode != "while":
        return 1
    if noted := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(noted[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
    compared = _counter_and_limit(found.get(condition[1], ()) if condition else ())
    if compared is None:
        return 1
    index, limit = compared
    named = {one.name: one for one in neighbors}
    carried = named.get(loop.operands[0])
    if carried is None or carried.opcode != "tuple":
        return 1
    begin = named.get(carried.operands[index])
    while begin is not None and begin.opcode == "copy":
        begin = named.get(begin.operands[0])
    first = _constant(begin)
    return 1 if first is None else max(limit - first, 0)


def _counter_and_limit(condition: Sequence[Instruction]) -> tuple[int, int] | None:
    """Returns (place of the counter in what the loop carries, its limit), if it has one."""
    named = {one.name: one for one in condition}
    root = next((one for one in condition if one.is_root), None)
    if root is None or root.opcode != "compare" or "direction=LT" not in root.rest:
        return None
    counter, limit = (named.get(name) for name in root.operands)
    number = _constant(limit)
    if counter is None or counter.opcode != "get-tuple-element" or number is None:
        return None
    place = re.search(r"index=(\d+)", counter.rest)
    return (int(place[1]), number) if place else None


def _constant(instruction: Instruction | None) -> int | None:
    """Returns the number that an instruction is, None if it is no whole constant."""
    if instruction is None or instruction.opcode != "constant":
        return None
    number = re.match(r"(-?\d+)\)", instruction.rest)
    return int(number[1]) if number else None
