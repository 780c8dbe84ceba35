"""What a gradient needs in memory, on functions small enough to say so by hand."""

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.programs.residuals import stored_residuals

X, W = frozenset({"x"}), frozenset({"w"})
ROWS, IN, OUT = 6, 8, 16


def residuals_of(function, *shapes, over=1):
    """Returns (bytes, label) of what is kept for the gradient by the first inputs."""

    def forward(*args):
        moved, fixed = args[:over], args[over:]
        return jax.tree.leaves(jax.vjp(lambda *m: function(*m, *fixed), *moved)[1])

    traced = jax.make_jaxpr(forward)(*shapes)
    found = stored_residuals(traced, [W] * over + [X] * (len(shapes) - over))
    return sorted((array.bytes, "".join(sorted(array.origin))) for array in found.arrays)


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


X_IN, KERNEL, KERNEL_2 = array(ROWS, IN), array(IN, OUT), array(OUT, OUT)


def test_inputs_are_not_counted():
    assert residuals_of(lambda w, x: x @ w, KERNEL, X_IN) == []


@pytest.mark.parametrize(
    ("between", "kept"), [(jax.nn.gelu, 2), (jax.nn.softplus, 2), (lambda h: h, 1)]
)
def test_between_two_products_are_a_result_and_an_operand(between, kept):
    """However many arrays the derivative of what lies between reads."""
    found = residuals_of(lambda w, v, x: between(x @ w) @ v, KERNEL, KERNEL_2, X_IN, over=2)
    table = (4 * ROWS * OUT, "wx")
    assert found == [table] * kept


def test_what_ends_in_a_sum_is_computed_again():
    found = residuals_of(lambda w, x: jnp.sum(jnp.tanh(x @ w) ** 4), KERNEL, X_IN)
    assert found == [(4 * ROWS * OUT, "wx")]


def test_norm_keeps_its_input_its_sums_and_the_operand_after_it():
    def function(w, v, x):
        h = x @ w
        mean = h.mean(-1, keepdims=True)
        spread = jnp.square(h - mean).mean(-1, keepdims=True)
        return ((h - mean) * jax.lax.rsqrt(spread + 1e-6)) @ v

    found = residuals_of(function, KERNEL, KERNEL_2, X_IN, over=2)
    sums = (4 * ROWS, "wx")
    assert found == [sums, sums] + [(4 * ROWS * OUT, "wx")] * 2


def test_residual_sum_counts_each_summand_once():
    def function(w, v, x):
        first = x @ w
        second = first + jnp.tanh(first @ v)
        return jnp.sum(jnp.tanh(second) ** 2)

    found = residuals_of(function, KERNEL, KERNEL_2, X_IN, over=2)
    assert found == [(4 * ROWS * OUT, "wx")] * 2


def test_result_wanted_in_short_floats_alone_is_kept_short():
    def function(w, v, x):
        long = jnp.matmul(x, w, preferred_element_type=jnp.float32)
        return jnp.sum(jnp.sin(long.astype(jnp.bfloat16)) @ v)

    short = [s.update(dtype=jnp.bfloat16) for s in (KERNEL, KERNEL_2, X_IN)]
    assert residuals_of(function, *short, over=2) == [(2 * ROWS * OUT, "wx")] * 2


def test_slices_and_orders_share_the_memory_of_their_source():
    def function(w, x):
        q, k = jnp.split(x @ w, 2, axis=-1)
        return jnp.sum((q.T @ k) ** 2)

    found = residuals_of(function, KERNEL, X_IN)
    assert found == [(4 * (OUT // 2) ** 2, "wx"), (4 * ROWS * OUT, "wx")]


def test_copies_of_parameters_are_told_apart():
    def function(w, v, x):
        half = jnp.bfloat16
        return jnp.sum((jnp.tanh(x.astype(half) @ w.astype(half)) @ v.astype(half)) ** 2)

    found = residuals_of(function, KERNEL, KERNEL_2, X_IN, over=2)
    assert [size for size, label in found if label == "w"] == [2 * OUT * OUT]


def test_a_sum_of_several_is_kept_in_their_place():
    def function(w, v, x):
        h = x @ w + x[:, ::-1] @ w + jnp.flip(x) @ w
        return jnp.sum(jnp.sin(h) @ v)

    found = residuals_of(function, KERNEL, KERNEL_2, X_IN, over=2)
    assert found == [(4 * ROWS * OUT, "wx")] * 2  # h and its sine


def test_what_a_loop_leaves_is_all_kept():
    def function(w, x):
        def body(h, _):
            return jnp.tanh(h @ w), None

        return jnp.sum(jax.lax.scan(body, x, None, length=5)[0])

    found = residuals_of(function, array(IN, IN), X_IN)
    assert sum(size for size, _ in found) >= 5 * 4 * ROWS * IN


def test_remat_keeps_what_goes_in():
    def block(w, h):
        return jnp.tanh(jnp.tanh(h @ w) @ w)

    def function(w, x):
        h = x @ w
        return jnp.sum(jax.checkpoint(block)(w, jnp.sin(h)))

    # h and what goes in, its sine; two more without.
    assert residuals_of(function, array(IN, IN), X_IN) == [(4 * ROWS * IN, "wx")] * 2


@pytest.mark.parametrize("last", [1, 5])
def test_workspace_is_what_the_worst_place_needs(last):
    """An early wide array and its gradient come when later ones are gone already."""
    wide, narrow = array(IN, 4 * OUT), array(4 * OUT, last)

    def residuals(w, v, x):
        return jax.tree.leaves(jax.vjp(lambda w, v: jnp.sin(x @ w) @ v, w, v)[1])

    found = stored_residuals(jax.make_jaxpr(residuals)(wide, narrow, X_IN), [W, W, X])
    row = 4 * ROWS
    assert sum(a.bytes for a in found.arrays) == row * 2 * 4 * OUT
    assert found.workspace(X) == 2 * row * 4 * OUT  # at the operand of the last product
