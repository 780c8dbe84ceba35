"""The collectives (communication between devices) of a compiled program, from its text.

The text is that of `compiled.as_text()`, for any backend. A collective may appear several
times in it: the TPU compiler repeats a gather in every fusion that overlaps with it. Those
with the same channel are counted once. The body of a loop is counted as often as the loop
runs, where the text says it (`computations.executions`).
"""

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from hybrid_jax.programs.computations import computations, executions

OPS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-broadcast",
    "collective-permute",
)

_ITEM_BITS = dict(pred=8, bf16=16)  # others have it in the name: f32, s8, u4, f8e4m3fn

_IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation.

    Attributes:
        op: one of `OPS`, synchronous or asynchronous.
        bytes: size of the result on one device, for one execution.
        shape: shape of the result in HLO notation, without memory layouts.
        name: name of the JAX operation; "" if the compiler made it.
        peers: one group of devices that take part, as positions on the flattened mesh.
        times: number of executions in one call of the program.
    """

    op: str
    bytes: int
    shape: str
    name: str
    peers: tuple[int, ...] = ()
    times: int = 1

    @property
    def received_bytes(self) -> int:
        """Bytes that one device receives in all executions, with ring algorithms."""
        n = max(len(self.peers), 1)
        if self.op == "all-reduce":  # a scatter of sums, then a gather of them
            received = 2 * self.bytes * (n - 1) // n
        elif self.op == "reduce-scatter":  # the result is one n-th of what is summed
            received = self.bytes * (n - 1)
        elif self.op in ("collective-permute", "collective-broadcast"):
            received = self.bytes
        else:
            received = self.bytes * (n - 1) // n
        return received * self.times

    def axes(self, mesh: Mapping[str, int]) -> tuple[str, ...]:
        """Returns the mesh axes along which the peers differ; () if they are not known.

        Args:
            mesh: number of devices along each axis, in the order of the program's mesh.
        """
        if len(self.peers) < 2 or max(self.peers) >= math.prod(mesh.values()):
            return ()
        places = np.unravel_index(self.peers, tuple(mesh.values()))
        along = zip(mesh, places, strict=True)
        return tuple(axis for axis, at in along if np.ptp(at) > 0)


def collectives(text: str) -> list[Collective]:
    """Returns the collectives of a compiled program in the order of its text.

    Args:
        text: an HLO module as text.
    """
    read = computations(text)
    runs = executions(read)
    found: dict[object, Collective] = {}
    for name, instructions in read.items():
        for instruction in instructions:
            shape, opcode = instruction.shape, instruction.opcode
            rest = instruction.rest
            started = opcode.removesuffix("-start")
            if started not in OPS:
                continue
            if opcode != started and started != "all-reduce":
                shape = _result_of_start(shape)
            # On TPU, a fusion with this name keeps only the device's slice of the sum.
            scattered = started == "all-reduce" and name.startswith("all-reduce-scatter")
            peers = _peers(rest)
            size = _bytes(shape)
            one = Collective(
                op="reduce-scatter" if scattered else started,
                bytes=size // max(len(peers), 1) if scattered else size,
                shape=shape,
                name=_quoted("op_name", rest),
                peers=peers,
                times=runs.get(name, 1),
            )
            channel = re.search(r"channel_id=(\d+)", rest)
            found.setdefault((started, channel[1]) if channel else len(found), one)
    return list(found.values())


def _result_of_start(shape: str) -> str:
    """Returns the results of `(operands, results, ...)`, the type of a `-start` op."""
    depth, parts, word = 0, [], ""
    for letter in shape[1:-1] if shape.startswith("(") else shape:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(word.strip())
            word = ""
        else:
            word += letter
    parts.append(word.strip())
    return parts[1] if len(parts) > 1 else parts[0]


def _bytes(shape: str) -> int:
    """Returns the total bytes of all arrays in a shape."""
    bits = 0
    for kind, sizes in _ARRAY.findall(shape):
        digits = re.match(r"[a-z]+?(\d+)", kind)
        item = _ITEM_BITS.get(kind) or (int(digits[1]) if digits else 0)
        bits += item * math.prod(int(s.lstrip("<=")) for s in sizes.split(",") if s)
    return bits // 8


def _quoted(key: str, rest: str) -> str:
    value = re.search(rf'{key}="([^"]*)"', rest)
    return value[1] if value else ""


def _peers(rest: str) -> tuple[int, ...]:
    """Returns the first group of devices, written in any of the four notations."""
    if pair := re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", rest):
        return tuple(map(int, pair.groups()))
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", rest):
        return tuple(int(i) for i in listed[1].split(","))
    if counted := re.search(rf"replica_groups=\[([\d,]+)\]<={_IOTA}", rest):
        groups, *ids = counted.groups()
        return tuple(_iota(*ids).reshape(_sizes(groups))[0].tolist())
    if on_mesh := re.search(
        rf"replica_groups=mesh\[(.*?)\](?:, device_ids=\({_IOTA}\))? \{{(.*?)\}}", rest
    ):
        return _mesh_peers(*on_mesh.groups())
    return ()


def _mesh_peers(mesh: str, sizes: str, order: str | None, along: str) -> tuple[int, ...]:
    """Parses `mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}`; device_ids is optional.

    `'a':(2)2` is a part of axis a: its second factor, of size 2, after a factor of size 2.
    """
    parts = {
        name: (int(before or 1), int(size) if size else None)
        for name, before, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", along)
    }
    split, group = [], []
    for name, length in re.findall(r"'([^']+)'=(\d+)", mesh):
        before, size = parts.get(name, (1, 1))
        size = size or int(length)
        split += [before, size, int(length) // (before * size)]
        group += [0, slice(None), 0]
    ids = _iota(sizes or str(math.prod(split)), order).reshape(split)
    return tuple(ids[tuple(group)].ravel().tolist())


def _iota(sizes: str, order: str | None) -> np.ndarray:
    """Returns 0, 1, 2, ... as an array of these sizes, transposed to this order of axes."""
    ids = np.arange(math.prod(_sizes(sizes))).reshape(_sizes(sizes))
    return ids if order is None else ids.transpose(_sizes(order))


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(","))
