"""The arrays of a traced function, and what each of them is computed from."""

import dataclasses
import math

from hybrid_jax.programs.flop_count import Origin

# Operations that return the same numbers in another order, or fewer.
_VIEWS = (
    "reshape",
    "squeeze",
    "expand_dims",
    "transpose",
    "slice",
    "split",
    "broadcast_in_dim",
    "rev",
    "copy",
)


@dataclasses.dataclass(eq=False)
class Array:
    """One array of a traced function.

    Attributes:
        bytes: size of the array.
        origin: labels of the inputs that it depends on.
        shape: of the array.
        made_by: name of the operation; "" for an input.
        sources: operands of the operation.
        matrices: of a batched product, the operands and the result, each with the
            dimensions of its matrices; of a convolution with batch and channels.
        in_strips: whether a TPU computes it in strips of its images (`strips.py`).
        overlap: size of the strips that it lies in, if any, against its own.
        is_written: whether it is written to memory.
        held: bytes that it takes in memory: on TPUs more than `bytes`, by padding.
    """

    bytes: int
    origin: Origin
    shape: tuple[int, ...] = ()
    made_by: str = ""
    sources: list["Array"] = dataclasses.field(default_factory=list)
    matrices: list[tuple["Array", list[int]]] = dataclasses.field(default_factory=list)
    in_strips: bool = False
    overlap: float = 1.0
    is_written: bool = False
    held: int = 0

    def __post_init__(self):
        self.held = self.bytes

    @property
    def stored(self) -> "Array":
        """The array that this one is a view of, or itself."""
        array = self
        while array.made_by in _VIEWS and len(array.sources) == 1:
            array = array.sources[0]
        return array


def needed(array: Array) -> list[Array]:
    """Returns the written arrays from which `array` can be recomputed."""
    found, waiting, seen = [], [array], set()
    while waiting:
        one = waiting.pop().stored
        if id(one) in seen or not one.made_by:
            continue
        seen.add(id(one))
        if one.is_written:
            found.append(one)
        else:
            waiting += one.sources
    return found


def large(array: Array) -> set[int]:
    """Returns which arrays of at least its size `array` is recomputed from."""
    return {id(a) for a in needed(array) if math.prod(a.shape) >= math.prod(array.shape)}


def joint(array: Array) -> Array:
    """Returns the first array that is computed from all that `array` is: their sum."""
    wanted = large(array)
    while True:
        earlier = [source.stored for source in array.sources]
        earlier = [one for one in earlier if not one.is_written and large(one) == wanted]
        if not earlier:
            return array
        array = earlier[0]
