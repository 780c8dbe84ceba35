"""Convolution with optional weight standardization."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.ops import space_to_depth
from hybrid_jax.ops.matmul import matmul
from hybrid_jax.ops.platform import platform

_FEW_CHANNELS = 4  # an image has 3

_he_normal = nnx.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


@functools.partial(jax.jit, static_argnames="numerics", inline=True)
def standardize(kernel: jax.Array, *, numerics: str) -> jax.Array:
    """Standardizes a kernel (Qiao et al., 2019) per output channel, in float32.

    Args:
        kernel: (kh, kw, C_in, C_out), as stored in checkpoints.
        numerics: "vit_jax" adds 1e-5 to the standard deviation; "timm" adds 1e-8 to the
            variance, "bit" 1e-10.
    """
    # Reshaped to 2D: on CPU, XLA's gradient of the same reductions over a
    # (1, 1, C_in, C_out) kernel is thirty times slower.
    weights = kernel.astype(jnp.float32).reshape(-1, kernel.shape[-1])
    centered = weights - weights.mean(0)
    variance = jnp.square(centered).mean(0)
    if numerics == "vit_jax":
        standard = centered / (jnp.sqrt(variance) + 1e-5)
    else:
        eps = {"timm": 1e-8, "bit": 1e-10}[numerics]
        standard = centered * jax.lax.rsqrt(variance + eps)
    return standard.reshape(kernel.shape)


@jax.jit
def _scaled_and_shifted(kernel, bias, scale, offset):
    return kernel * scale, offset if bias is None else bias * scale + offset


class Conv(nnx.Module):
    """A convolution over (B, h, w, C).

    Kernels whose windows do not overlap (1x1, or stride = kernel size) run as one matrix
    product: the same arithmetic, whose gradient is 1.4 to 3 times faster than that of the
    convolution on CPU; accelerators use the same matrix units for both. A 1x1 convolution
    with a stride stays one on GPUs: XLA (jax 0.11) can fuse the strided slice into the
    product, and then ends the process by a failed check. There, an image is also read in
    cells of 2x2 pixels, see `ops/space_to_depth.py`.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel: side of the square kernel.
        stride: stride of the windows.
        dilation: dilation of the kernel.
        groups: number of groups of channels.
        padding: "same" as in TensorFlow (vit_jax); "centered" pads all sides by half the
            kernel (torch); "end" pads the bottom and the right to a whole window.
        use_bias: adds a learned bias.
        standardized: None, or the numerics of `standardize`.
        dtype: compute dtype.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        rngs: nnx.Rngs,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: str = "same",
        use_bias: bool = False,
        standardized: str | None = None,
        kernel_init=_he_normal,
        dtype: str = "float32",
    ):
        if (padding == "end") != (kernel == stride > 1) and kernel > 1:
            raise ValueError(
                f"Conv: padding: expected 'end' if and only if the windows do not overlap "
                f"(stride equal to kernel), got kernel {kernel}, stride {stride}, padding "
                f"{padding!r}."
            )
        shape = (kernel, kernel, in_channels // groups, out_channels)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out_channels)) if use_bias else None
        self.side = kernel
        self.stride = stride
        self.dilation = dilation
        self.groups = groups
        self.padding = padding
        self.standardized = standardized
        self.dtype = jnp.dtype(dtype)

    def prepared_kernel(self) -> jax.Array:
        """Returns the float32 kernel of the convolution, after any standardization."""
        if self.standardized is None:
            return self.kernel[...]
        return standardize(self.kernel[...], numerics=self.standardized)

    def standardize_in_place(self) -> None:
        """Replaces the stored kernel by the standardized one. Idempotent.

        The outputs stay the same and later calls do not standardize again, but the stored
        kernel is no longer that of the checkpoint. It is differentiable inside a trace.
        """
        if self.standardized is not None:
            self.kernel[...] = self.prepared_kernel()
            self.standardized = None

    def fold_in_place(self) -> None:
        """Standardizes the kernel, see `models/layers/folding.py`."""
        self.standardize_in_place()

    def scale_and_shift(self, scale: jax.Array, offset: jax.Array) -> None:
        """Changes kernel and bias so that the output is `y * scale + offset` instead of y.

        Args:
            scale: (C_out,) in float32.
            offset: (C_out,) in float32.
        """
        self.standardize_in_place()
        bias = None if self.bias is None else self.bias[...]
        kernel, bias = _scaled_and_shifted(self.kernel[...], bias, scale, offset)
        self.kernel[...] = kernel
        self.bias = nnx.data(nnx.Param(bias))  # it may have been built without one

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, x = self.prepared_kernel().astype(self.dtype), x.astype(self.dtype)
        if self._is_product():
            x = x[:, :: self.stride, :: self.stride] if self.stride > 1 else x
            y = matmul(x, kernel[0, 0])
        elif self.side == self.stride and self.groups == 1:
            y = matmul(self._patches(x), kernel.reshape(-1, kernel.shape[-1]))
        elif self._is_of_image():
            y = space_to_depth.convolve(x, kernel, pads=self._pads(x.shape[1:3]))
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(self.stride, self.stride),
                padding=self._pads(x.shape[1:3]),
                rhs_dilation=(self.dilation, self.dilation),
                feature_group_count=self.groups,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)

    def _is_product(self) -> bool:
        """Whether a 1x1 convolution runs as one matrix product."""
        sliced = self.stride > 1
        return self.side == 1 == self.groups and not (sliced and platform() == "gpu")

    def _is_of_image(self) -> bool:
        """Whether few channels are read with stride 2: the first layer, on GPUs."""
        few = self.kernel.shape[2] <= _FEW_CHANNELS
        plain = self.stride == 2 and self.dilation == self.groups == 1 < self.side
        return few and plain and platform() == "gpu"

    def _pads(self, hw: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Returns the cells of zeros (before, after) the rows and the columns."""
        if self.padding == "same":
            reach = self.dilation * (self.side - 1) + 1
            pads = jax.lax.padtype_to_pads(
                hw, (reach, reach), (self.stride, self.stride), "SAME"
            )
            return tuple(pads)
        if self.padding == "end":
            return tuple((0, -side % self.side) for side in hw)
        half = self.dilation * (self.side // 2)
        return ((half, half), (half, half))

    def _patches(self, x: jax.Array) -> jax.Array:
        """Splits a map into flattened windows (B, h, w, side * side * C)."""
        p = self.side
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % p), (0, -x.shape[2] % p), (0, 0)))
        B, H, W, C = x.shape
        x = x.reshape(B, H // p, p, W // p, p, C).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(B, H // p, W // p, p * p * C)
