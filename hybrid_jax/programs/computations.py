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

    The body of a loop runs as often as the compiler notes, or as its text says: a counter
    that begins with a constant, goes up by a constant and stays below a constant, as the
    TPU compiler's own loops have it. The body of any other loop is counted once.
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
    compared = _counter_and_limit(_called("condition", loop, found))
    if compared is None:
        return 1
    index, limit = compared
    first = _first_count(loop, index, neighbors)
    step = _step_of_counter(_called("body", loop, found), index)
    return 1 if first is None or step is None else max(-(-(limit - first) // step), 0)


def _called(role: str, loop: Instruction, found: Computations) -> Sequence[Instruction]:
    """Returns the computation that a loop has as its "condition" or "body"."""
    name = re.search(rf"{role}=%?([\w.\-]+)", loop.rest)
    return found.get(name[1], ()) if name else ()


def _first_count(
    loop: Instruction, index: int, neighbors: Sequence[Instruction]
) -> int | None:
    """Returns the constant that the counter begins with, if it is one."""
    named = {one.name: one for one in neighbors}
    carried = next((named[name] for name in loop.operands if name in named), None)
    if carried is None or carried.opcode != "tuple":
        return None
    return _constant(_copied(carried.operands[index], named))


def _step_of_counter(body: Sequence[Instruction], index: int) -> int | None:
    """Returns the positive constant that a round adds to the counter, if it does so."""
    named = {one.name: one for one in body}
    root = next((one for one in body if one.is_root), None)
    if root is None or root.opcode != "tuple":
        return None
    added = named.get(root.operands[index])
    if added is None or added.opcode != "add":
        return None
    parts = [_copied(name, named) for name in added.operands]
    if not any(one and one.opcode == "get-tuple-element" for one in parts):
        return None
    steps = [number for one in parts if (number := _constant(one)) is not None]
    return steps[0] if len(steps) == 1 and steps[0] > 0 else None


def _counter_and_limit(condition: Sequence[Instruction]) -> tuple[int, int] | None:
    """Returns (place of the counter in what the loop carries, its limit), if it has one."""
    named = {one.name: one for one in condition}
    root = next((one for one in condition if one.is_root), None)
    if root is None or root.opcode != "compare" or "direction=LT" not in root.rest:
        return None
    compared = [_copied(name, named) for name in root.operands]
    if len(compared) != 2:
        return None
    counter, number = compared[0], _constant(compared[1])
    if counter is None or counter.opcode != "get-tuple-element" or number is None:
        return None
    place = re.search(r"index=(\d+)", counter.rest)
    return (int(place[1]), number) if place else None


def _copied(name: str, named: Mapping[str, Instruction]) -> Instruction | None:
    """Returns an instruction, or what it is a copy of: counters are moved on the chip."""
    one = named.get(name)
    while one is not None and one.opcode == "copy":
        one = named.get(one.operands[0])
    return one


def _constant(instruction: Instruction | None) -> int | None:
    """Returns the number that an instruction is, None if it is no whole constant."""
    if instruction is None or instruction.opcode != "constant":
        return None
    number = re.match(r"(-?\d+)\)", instruction.rest)
    return int(number[1]) if number else None
