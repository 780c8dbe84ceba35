"""Sizes in tiles, by hand, and as the TPU compiler laid the same arrays."""

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.programs.residuals import stored_residuals
from hybrid_jax.programs.tiles import tiled_bytes

X, W = frozenset({"x"}), frozenset({"w"})


@pytest.mark.parametrize(
    ("shape", "itemsize", "among", "numbers"),
    [
        ((), 4, None, 1),
        ((64,), 4, None, 128),
        ((3, 3, 64, 64), 4, None, 3 * 3 * 64 * 128),  # a kernel
        ((32, 145, 1024), 2, None, 32 * 145 * 1024),  # 32 rows of 1024 for each token
        ((0, 5), 4, None, 0),
        # Logits of attention of r26_vit_b16, {2,3,1,0:T(8,128)(2,1)}: 150 MiB.
        ((128, 12, 197, 197), 2, (2, 3), 128 * 12 * 200 * 256),
        # Queries of r50_vit_l32, {1,2,0:T(8,128)(2,1)}: 256 tokens and no 128 channels.
        ((32, 145, 16, 64), 2, (1, 3), 32 * 16 * 256 * 64),
        # Queries of r26_vit_s32, {3,1,2,0:T(8,128)(2,1)}: the other way round.
        ((128, 50, 6, 64), 2, (1, 3), 128 * 6 * 56 * 128),
        # Images and the first map of r50_vit_l32, {0,3,2,1:T(4,128)(2,1)}, {3,0,2,1}.
        ((32, 384, 384, 3), 2, (0, 3), 384 * 384 * 4 * 128),
        ((32, 192, 192, 64), 2, (0, 3), 192 * 192 * 32 * 128),
    ],
)
def test_two_dimensions_are_rounded_up(shape, itemsize, among, numbers):
    assert tiled_bytes(shape, itemsize, among=among) == itemsize * numbers


def held(function, *shapes):
    """Returns what is kept on a TPU for the gradient by the first input, in bytes."""

    def forward(w, *x):
        return jax.tree.leaves(jax.vjp(lambda w: function(w, *x), w)[1])

    traced = jax.make_jaxpr(forward)(*shapes)
    found = stored_residuals(traced, [W] + [X] * (len(shapes) - 1), on_tpu=True)
    return sorted(array.held for array in found.arrays if array.origin >= X)


def array(*shape, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_operands_are_computed_as_they_are_read():
    """Of two layers the first one's result is kept, not what the second one reads."""

    def function(w, x):
        return jnp.sum(jnp.sin(jax.nn.gelu(x @ w) @ w.T))

    # (16, 256) as it is, and (16, 128) of the second product.
    assert held(function, array(128, 256), array(16, 128)) == [2 * 16 * 128, 2 * 16 * 256]


def test_attention_keeps_one_table_whose_tokens_are_padded():
    def function(w, x):
        q, k, v = (x @ one for one in w)
        q, k, v = (one.reshape(2, 50, 4, 64) for one in (q, k, v))
        logits = jnp.einsum("bnhd,bmhd->bhnm", q, k)
        return jnp.sum(jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(logits), v) ** 2)

    found = held(function, array(3, 256, 256), array(2, 50, 256))
    table, tokens = 2 * 4 * 56 * 128, 2 * 4 * 56 * 128  # 50 x 50, and 50 x 64 numbers
    assert [size for size in found if size > 10_000] == [2 * table] + [2 * tokens] * 4


def test_products_whose_result_is_one_number_each_lie_as_they_pad_least():
    """`bd,bd->b` and `b,bd->bd`: an array has no dimensions but those of the batch."""

    def function(w, x):
        y = x @ w
        numbers = jnp.einsum("bd,bd->b", y, y)
        return jnp.sum(jnp.sin(jnp.einsum("b,bd->bd", numbers, y)))

    found = held(function, array(64, 64), array(16, 64))
    assert [size for size in found if size > 1024] == [2 * 16 * 128] * 2


def test_a_result_that_is_kept_in_fewer_bytes_pads_that_and_no_operand():
    def function(w, x):
        q, k = ((x @ one).reshape(2, 49, 4, 64) for one in w)
        logits = jnp.einsum(
            "bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32
        ).astype(jnp.bfloat16)
        return jnp.sum(jnp.sin(logits))

    found = held(function, array(2, 256, 256), array(2, 49, 256))
    # 49 x 64 numbers of a head in the operands, 49 x 49 in the result, 56 x 128 in both.
    assert found == [2 * 2 * 4 * 56 * 128] * 3


def test_a_sum_is_kept_once_in_place_of_its_summands():
    """Norms after residuals, whose gradients read the sum and its square."""

    def function(w, x):
        first = x @ w
        joined = first + jnp.sin(first) @ w
        spread = joined.astype(jnp.float32) ** 2
        return jnp.sum(spread * jax.lax.rsqrt(spread.mean(-1, keepdims=True)))

    found = held(function, array(128, 128), array(16, 128))
    assert [size for size in found if size > 1024] == [
        2 * 16 * 128
    ] * 2  # `first`, `joined`


def test_an_image_is_converted_once():
    def function(w, image):
        image = image.astype(jnp.bfloat16) / 127.5 - 1.0
        numbers = ("NHWC", "HWIO", "NHWC")
        made = jax.lax.conv_general_dilated(
            image, w, (1, 1), "SAME", dimension_numbers=numbers
        )
        return jnp.sum(jnp.sin(made))

    found = held(function, array(3, 3, 3, 64), array(16, 10, 10, 3, dtype=jnp.uint8))
    # Batch along the lanes and 3 channels in 4 rows; 64 channels along the lanes.
    assert found == [2 * 10 * 10 * 4 * 128, 2 * 10 * 10 * 16 * 128]
