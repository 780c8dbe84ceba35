"""Bytes that the operations of a compiled GPU program read and write."""

import re
from collections import Counter

_BYTES = dict(f64=8, s64=8, u64=8, f32=4, s32=4, u32=4, bf16=2, f16=2, s16=2, u16=2)
_BYTES |= dict(s8=1, u8=1, pred=1)
_ARRAY = re.compile(r"\b([a-z]+[0-9]*)\[([0-9,]*)\]")
_OPERATION = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (\(?[^=]*?\)?) ([a-z\-]+)\(([^)]*)\)")
_COMPUTATION = re.compile(r"(?:ENTRY |%command_buffer)")  # others run inside a kernel
_FREE = {"get-tuple-element", "tuple", "bitcast", "parameter", "call", "constant"}
_FREE |= {"while", "conditional"}


def traffic(text: str) -> Counter[str]:
    """Returns bytes by kind of operation and shape of its result.

    Args:
        text: a compiled program in XLA's language. Operations in a loop count once.
    """
    moved: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    counted = False
    for line in text.splitlines():
        if line and not line[0].isspace():
            counted = bool(_COMPUTATION.match(line))
            continue
        found = _OPERATION.match(line)
        if found is None:
            continue
        name, shape, operation, arguments = found.groups()
        sizes[name] = _size(shape)
        if counted and operation not in _FREE:
            read = sum(sizes.get(x, 0) for x in re.findall(r"%([\w.\-]+)", arguments))
            moved[f"{_kind(name, line)} {_arrays(shape)}"] += sizes[name] + read
    return moved


def _size(shape: str) -> int:
    total = 0
    for dtype, sides in _ARRAY.findall(shape):
        count = 1
        for side in filter(None, sides.split(",")):
            count *= int(side)
        total += count * _BYTES.get(dtype, 0)
    return total


def _kind(name: str, line: str) -> str:
    target = re.search(r'custom_call_target="([^"]*)"', line)
    return target.group(1) if target else re.sub(r"[.\d]+$", "", name)


def _arrays(shape: str) -> str:
    return ", ".join(f"{dtype}[{sides}]" for dtype, sides in _ARRAY.findall(shape))
