"""What is kept on a TPU around convolutions of few images, by hand and as compiled."""

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.programs.residuals import stored_residuals

X, W = frozenset({"x"}), frozenset({"w"})
PX, CHANNELS = 16, 128
MIB = 2**20


def convolved(x, kernel, *, stride=1):
    numbers = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(
        x, kernel, strides, "SAME", dimension_numbers=numbers
    )


def kept(forward, weights, x, *, on_tpu=True):
    """Returns what is kept for the gradient by the weights, in the order it is made."""

    def backward_inputs(w, x):
        return jax.tree.leaves(jax.vjp(lambda w: forward(*w, x), w)[1])

    traced = jax.make_jaxpr(backward_inputs)(weights, x)
    found = stored_residuals(traced, [W] * len(weights) + [X], on_tpu=on_tpu)
    return [array.held for array in found.arrays if array.origin >= X]


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.bfloat16)


def kept_of_layers(*, images, window, on_tpu=True):
    """Returns what is kept of a convolution, a GELU in float32 and a product."""

    def forward(kernel, matrix, x):
        y = convolved(x, kernel).astype(jnp.float32)
        return jnp.sum(jnp.sin(jax.nn.gelu(y).astype(x.dtype) @ matrix))

    weights = array(window, window, CHANNELS, CHANNELS), array(CHANNELS, CHANNELS)
    return kept(forward, weights, array(images, PX, PX, CHANNELS), on_tpu=on_tpu)


def map_bytes(images):
    return 2 * images * PX * PX * CHANNELS


@pytest.mark.parametrize("images", [1, 2, 4, 7])
def test_few_images_keep_float32_and_what_the_product_reads(images):
    small = map_bytes(images)
    # Strips of 2 rows overlap by one. Of seven images one row of a tile is empty.
    in_strips = small * {7: 8 / 7}.get(images, 1) * 3 / 2
    assert kept_of_layers(images=images, window=3) == [in_strips + 2 * small, small, small]


def test_eight_images_need_no_strips():
    assert kept_of_layers(images=8, window=3) == [map_bytes(8)] * 2


def test_a_window_of_one_pixel_needs_none():
    assert kept_of_layers(images=2, window=1) == [map_bytes(2)] * 2


def test_elsewhere_there_are_none():
    assert kept_of_layers(images=2, window=3, on_tpu=False) == [map_bytes(2)] * 3


def test_the_first_layers_of_two_images_are_as_compiled():
    """Of `ade20k_r26_vit_s_fpn` with 2 images a chip.

    bf16[256,16,34,64]{3,1,2,0:T(8,128)(2,1)} is 34 MiB, its ReLU lies alike, and
    pred[256,16,34,64]{3,1,2,0:T(8,128)(4,1)} is 17 MiB: width in strips of 32 and 2 more.
    """

    def forward(kernel, x):
        y = convolved(x, kernel, stride=2).astype(jnp.float32)
        y = jax.nn.relu(y * jnp.sum(y)).astype(x.dtype)
        pooled = jax.lax.reduce_window(
            y, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"
        )
        return jnp.sum(jnp.sin(pooled))

    found = kept(forward, [array(7, 7, 3, 64)], array(2, 512, 512, 3))
    large = [held / MIB for held in found if held > 8 * MIB]
    assert large == [34 + 32, 17, 34]
