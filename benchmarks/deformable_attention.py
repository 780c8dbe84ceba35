"""Deformable attention: one packed gather a point against four, in one paired run.

    python benchmarks/deformable_attention.py
    python benchmarks/deformable_attention.py --queries=900 --batch=4 --sampling=discrete

Both take turns on the same arrays, so that a machine whose speed drifts is the same
machine for both. Prints one JSON object for the forward pass and one for the gradient
with respect to values, locations and weights: median milliseconds of each, the median
and range of the ratios of the pairs (above 1: packed is faster), and the bytes XLA sets
aside for temporaries.
"""

import argparse
import json
import statistics
import time

import jax
import jax.numpy as jnp

from hybrid_jax.ops.attention.deformable import SAMPLINGS, deformable_attention


def four_gathers(values, locations, weights):
    """The textbook form: every neighbor of every point is a gather of its own."""
    total = 0.0
    for level, value in enumerate(values):
        sample = jax.vmap(_four_gathers_of_one_example)
        total = total + sample(value, locations[:, :, :, level], weights[:, :, :, level])
    return total


def _four_gathers_of_one_example(value, locations, weights):
    h, w, heads, _ = value.shape
    x, y = locations[..., 0] - 0.5, locations[..., 1] - 0.5
    left, top = jnp.floor(x), jnp.floor(y)
    head = jnp.arange(heads)[:, None]
    total = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            share = (1.0 - jnp.abs(x - column)) * (1.0 - jnp.abs(y - row))
            inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
            i = jnp.clip(row, 0, h - 1).astype(jnp.int32)
            j = jnp.clip(column, 0, w - 1).astype(jnp.int32)
            total += value[i, j, head] * (share * inside * weights)[..., None]
    return total.sum(-2)


def inputs(options):
    """Returns values, locations spread over the maps and somewhat past them, weights."""
    keys = jax.random.split(jax.random.key(0), 2 + len(options.sides))
    heads, levels = options.heads, len(options.sides)
    values = [
        jax.random.normal(key, (options.batch, side, side, heads, options.head_dim))
        for key, side in zip(keys[2:], options.sides, strict=True)
    ]
    shape = (options.batch, options.queries, heads, levels, options.points)
    locations = jax.random.uniform(keys[0], (*shape, 2), minval=-0.05, maxval=1.05)
    sides = jnp.asarray(options.sides, jnp.float32)[:, None, None]
    weights = jax.nn.softmax(jax.random.normal(keys[1], shape), axis=(-2, -1))
    return values, locations * sides, weights


def compile_both(form, arrays):
    """Returns the compiled forward pass and gradient of one implementation."""

    def gradient(*arrays):
        return jax.grad(lambda *a: jnp.square(form(*a)).sum(), argnums=(0, 1, 2))(*arrays)

    return {
        "forward": jax.jit(form).lower(*arrays).compile(),
        "gradient": jax.jit(gradient).lower(*arrays).compile(),
    }


def milliseconds(compiled, arrays) -> float:
    started = time.perf_counter()
    jax.block_until_ready(compiled(*arrays))
    return 1e3 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 32, 16])
    parser.add_argument("--queries", type=int, default=5376)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--head_dim", type=int, default=32)
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sampling", choices=SAMPLINGS, default="bilinear", help="of ours")
    options = parser.parse_args()

    def packed(*arrays):
        return deformable_attention(*arrays, sampling=options.sampling)

    arrays = inputs(options)
    forms = {
        "packed": compile_both(packed, arrays),
        "four_gathers": compile_both(four_gathers, arrays),
    }
    device = jax.devices()[0]
    for kind in ("forward", "gradient"):
        times = {name: [] for name in forms}
        for form in forms.values():
            milliseconds(form[kind], arrays)  # the first call is not timed
        for _ in range(options.rounds):
            for name, form in forms.items():
                times[name].append(milliseconds(form[kind], arrays))
        pairs = zip(times["four_gathers"], times["packed"], strict=True)
        ratios = [theirs / ours for theirs, ours in pairs]
        temporaries = {
            name: form[kind].memory_analysis().temp_size_in_bytes
            for name, form in forms.items()
        }
        row = dict(kind=kind, device=device.device_kind, **vars(options))
        row |= {f"{name}_ms": round(statistics.median(t), 2) for name, t in times.items()}
        row |= {
            "ratio": round(statistics.median(ratios), 3),
            "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        }
        row |= {f"{name}_temporary_bytes": size for name, size in temporaries.items()}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
