"""Matrix products of a traced function: their number of MACs and the origin of operands.

A jaxpr is a list of equations with shapes, so counting needs no memory and runs nothing.
The count has the multiply-accumulates (MACs) of `dot_general`, convolutions and cuDNN's
fused attention; one MAC is two FLOPs. Elementwise operations, a few per cent of the
arithmetic, are left out, as in published counts (timm, fvcore). Padded cells of a
convolution are counted, zeros inserted by a transposed convolution are not.

XLA's `cost_analysis` counts the body of a `scan` once and a fused kernel as zero; here a
body is counted as often as it runs.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from hybrid_jax.programs.jaxprs import bodies, called

Origin = frozenset[str]
"""Labels of all inputs that a value depends on; empty for a constant."""

CONSTANT: Origin = frozenset()


@dataclasses.dataclass(frozen=True)
class Product:
    """One product of two arrays.

    Attributes:
        macs: multiply-accumulates of all executions.
        times: number of executions; more than one inside a scan.
        left: origin of the first operand.
        right: origin of the second operand (the kernel of a convolution).
        batch: sizes of the batch dimensions; empty for a layer.
        free: size of the free dimensions of each operand.
        contracted: size of the contracted dimensions.
    """

    macs: int
    times: int
    left: Origin
    right: Origin
    batch: tuple[int, ...]
    free: tuple[int, int]
    contracted: int


@dataclasses.dataclass
class Flow:
    """The products of a traced function and the origins of its outputs.

    Attributes:
        products: all products, in order.
        outputs: origin of every output.
        uncounted: messages on operations that are not counted; usually empty.
    """

    products: list[Product] = dataclasses.field(default_factory=list)
    outputs: list[Origin] = dataclasses.field(default_factory=list)
    uncounted: list[str] = dataclasses.field(default_factory=list)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products."""
        return sum(product.macs for product in self.products)


def follow(jaxpr: Any, origins: Sequence[Origin]) -> Flow:
    """Returns the products of a jaxpr and of all jaxprs that it calls.

    Args:
        jaxpr: from `jax.make_jaxpr`.
        origins: one for each of its inputs, in order.

    Raises:
        ValueError: the number of origins is not the number of inputs.
    """
    inner = getattr(jaxpr, "jaxpr", jaxpr)  # of a ClosedJaxpr
    if len(inner.invars) != len(origins):
        raise ValueError(
            f"follow: origins: expected one for each of the {len(inner.invars)} inputs, "
            f"got {len(origins)}."
        )
    known = dict(zip(inner.invars, origins, strict=True))

    def origin(value) -> Origin:
        # Literals (not hashable) and captured constants have no origin.
        return CONSTANT if hasattr(value, "val") else known.get(value, CONSTANT)

    flow = Flow()
    for equation in inner.eqns:
        step = _follow_equation(equation, [origin(value) for value in equation.invars])
        flow.products += step.products
        flow.uncounted += step.uncounted
        known.update(zip(equation.outvars, step.outputs, strict=True))
    flow.outputs = [origin(value) for value in inner.outvars]
    return flow


def _follow_equation(equation, read: list[Origin]) -> Flow:
    name = equation.primitive.name
    if name in _PRODUCTS:
        products = _PRODUCTS[name](equation, read)
        return Flow(products, [_join(read)] * len(equation.outvars))
    if name in _CONTROL:
        return _CONTROL[name](equation, read)
    if name == "optimization_barrier":  # returns its operands
        return Flow(outputs=list(read))
    if (body := called(equation)) is not None:
        return follow(body, read)
    flow = Flow(outputs=[_join(read)] * len(equation.outvars))
    products = sum(
        len(follow(b, _all(b, read)).products) for b in bodies(equation.params.values())
    )
    if products or name == "pallas_call":
        flow.uncounted.append(f"{name}: its products are not counted")
    return flow


def _dot_general(equation, read) -> list[Product]:
    summed, shared = equation.params["dimension_numbers"]  # of the left, of the right
    left, right = (value.aval.shape for value in equation.invars[:2])
    batch = tuple(left[i] for i in shared[0])
    contracted = math.prod(left[i] for i in summed[0])
    left_free, right_free = (
        math.prod(side for i, side in enumerate(shape) if i not in (*used, *kept))
        for shape, used, kept in zip((left, right), summed, shared, strict=True)
    )
    macs = math.prod(batch) * left_free * right_free * contracted
    free = (left_free, right_free)
    return [Product(macs, 1, *read[:2], batch=batch, free=free, contracted=contracted)]


def _convolution(equation, read) -> list[Product]:
    """The kernel has the input channels of one group, so MACs are not divided by groups."""
    kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    layout = equation.params["dimension_numbers"]
    out_dim, in_dim, *spatial = layout.rhs_spec
    taps = math.prod(kernel[i] for i in spatial) * kernel[in_dim]
    inserted = math.prod(equation.params["lhs_dilation"])
    macs = math.prod(out) * taps // inserted
    free = (math.prod(out[i] for i in layout.out_spec[2:]), kernel[out_dim])
    return [Product(macs, 1, *read[:2], batch=(), free=free, contracted=taps)]


def _fused_attention(equation, read) -> list[Product]:
    """The two products of cuDNN's fused attention: logits, and weights times values.

    Query, key and value are (B, N, heads, d), (B, M, heads, d), (B, M, heads, d) in layout
    0; in layout 1 heads come before tokens.
    """
    query, key = (value.aval.shape for value in equation.invars[:2])
    tokens, heads = (1, 2) if int(equation.params["layout"]) == 0 else (2, 1)
    N, M, d = query[tokens], key[tokens], query[3]
    batch = (query[0], query[heads])
    macs = math.prod(batch) * N * M * d
    weights = read[0] | read[1]
    return [
        Product(macs, 1, *read[:2], batch=batch, free=(N, M), contracted=d),
        Product(macs, 1, weights, read[2], batch=batch, free=(N, d), contracted=M),
    ]


def _scan(equation, read) -> Flow:
    """Counts the body `length` times; iterates origins of the carry to a fixed point."""
    (body,) = bodies([equation.params["jaxpr"]])
    # Scanned inputs have one dimension more than the body's. The parameters of the
    # primitive that tell the same have changed between releases of JAX.
    xs = _count_rank_changes(equation.invars, body.invars)
    ys = _count_rank_changes(equation.outvars, body.outvars)
    carried = len(equation.outvars) - ys
    first = len(equation.invars) - xs - carried
    flow = _until_stable(body, read, slice(first, first + carried))
    return _repeated(flow, equation.params["length"])


def _while(equation, read) -> Flow:
    """Counts the body once, because the number of iterations is not known."""
    skipped = equation.params["cond_nconsts"]
    (body,) = bodies([equation.params["body_jaxpr"]])
    first = equation.params["body_nconsts"]
    flow = _until_stable(body, read[skipped:], slice(first, len(body.invars)))
    if flow.products:
        flow.uncounted.append("while: its body is counted once; it may run more often")
    return flow


def _cond(equation, read) -> Flow:
    """Counts the branch with most MACs; outputs have the origins of all branches."""
    branches = [follow(b, read[1:]) for b in bodies(equation.params["branches"])]
    costliest = max(branches, key=lambda flow: flow.macs)
    results = zip(*(branch.outputs for branch in branches), strict=True)
    outputs = [_join([read[0], *each]) for each in results]
    notes = [note for branch in branches for note in branch.uncounted]
    return Flow(costliest.products, outputs, notes)


_PRODUCTS = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "dot_product_attention_fwd_wrapper": _fused_attention,
}
_CONTROL = {"scan": _scan, "while": _while, "cond": _cond}


def _until_stable(body, read: list[Origin], carried: slice) -> Flow:
    """Follows a loop's body until the origins of its carry do not change."""
    read = list(read)
    while True:
        flow = follow(body, read)
        count = carried.stop - carried.start
        again = [a | b for a, b in zip(read[carried], flow.outputs[:count], strict=True)]
        if again == read[carried]:
            return flow
        read[carried] = again


def _repeated(flow: Flow, length: int) -> Flow:
    products = [
        dataclasses.replace(p, macs=p.macs * length, times=p.times * length)
        for p in flow.products
    ]
    return dataclasses.replace(flow, products=products if length else [])


def _count_rank_changes(outer, inner) -> int:
    pairs = zip(outer, inner, strict=True)
    return sum(len(a.aval.shape) != len(b.aval.shape) for a, b in pairs)


def _all(body, read: list[Origin]) -> list[Origin]:
    return [_join(read)] * len(body.invars)


def _join(origins: Iterable[Origin]) -> Origin:
    return CONSTANT.union(*origins)
