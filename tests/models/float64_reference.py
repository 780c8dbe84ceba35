"""ResNet and ViT again, in float64 numpy, written from the papers and as loops.

Nothing here imports the library: what both get wrong, both must get wrong separately.
Parameters come as the nested dict of a state, arrays (B, h, w, C) as everywhere.
"""

import math

import numpy as np
from scipy import special


def same_pads(size, *, kernel, stride, dilation=1):
    """TensorFlow's rule: the odd cell of padding goes to the end."""
    extent = (kernel - 1) * dilation + 1
    total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def _pads(x, *, kernel, stride, dilation, centered):
    if centered:
        return ((dilation * (kernel // 2),) * 2,) * 2
    return tuple(
        same_pads(side, kernel=kernel, stride=stride, dilation=dilation)
        for side in x.shape[1:3]
    )


def conv(x, kernel, *, stride=1, dilation=1, centered=False):
    """Slides a square kernel, tap by tap."""
    side = len(kernel)
    rows, columns = _pads(
        x, kernel=side, stride=stride, dilation=dilation, centered=centered
    )
    x = np.pad(x, ((0, 0), rows, columns, (0, 0)))
    extent = (side - 1) * dilation + 1
    h, w = ((n - extent) // stride + 1 for n in x.shape[1:3])
    y = np.zeros((len(x), h, w, kernel.shape[-1]))
    for i in range(side):
        for j in range(side):
            top, left = i * dilation, j * dilation
            window = x[
                :,
                top : top + (h - 1) * stride + 1 : stride,
                left : left + (w - 1) * stride + 1 : stride,
            ]
            y += window @ kernel[i, j]
    return y


def max_pool(x, *, centered):
    """3x3 windows, stride 2; padding loses against everything."""
    rows, columns = _pads(x, kernel=3, stride=2, dilation=1, centered=centered)
    x = np.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=-np.inf)
    h, w = ((n - 3) // 2 + 1 for n in x.shape[1:3])
    taps = [
        x[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2]
        for i in range(3)
        for j in range(3)
    ]
    return np.max(taps, axis=0)


def standardize(kernel, numerics):
    """One output channel at a time."""
    out = np.empty_like(kernel)
    for channel in range(kernel.shape[-1]):
        w = kernel[..., channel]
        if numerics == "vit_jax":
            out[..., channel] = (w - w.mean()) / (w.std() + 1e-5)
        else:
            out[..., channel] = (w - w.mean()) / np.sqrt(w.var() + 1e-8)
    return out


def group_norm(x, p, *, eps, groups=32):
    """One image and group at a time."""
    y = np.empty_like(x)
    size = x.shape[-1] // groups
    for image in range(len(x)):
        for group in range(groups):
            part = np.s_[image, ..., group * size : (group + 1) * size]
            y[part] = (x[part] - x[part].mean()) / np.sqrt(x[part].var() + eps)
    return y * p["scale"] + p["bias"]


def map_norm(x, p, *, eps=1e-6):
    """GroupNorm outside the ResNet: 32 groups, halved until each has four channels."""
    groups = 32
    while groups > 1 and (x.shape[-1] % groups or x.shape[-1] < 4 * groups):
        groups //= 2
    return group_norm(x, p, eps=eps, groups=groups)


class ResNet:
    """Post-activation bottlenecks; `norm` and `numerics` as in the library's spec."""

    def __init__(self, params, *, blocks, norm, numerics="vit_jax", output_stride=32):
        self.params = params
        self.blocks = blocks
        self.batch = norm == "batch"
        self.numerics = numerics
        self.output_stride = output_stride

    def conv(self, x, p, **kw):
        kernel = p["kernel"]
        if not self.batch:
            kernel = standardize(kernel, self.numerics)
        return conv(x, kernel, centered=self.batch, **kw)

    def norm(self, x, p):
        if self.batch:
            return (x - p["mean"]) / np.sqrt(p["var"] + 1e-5) * p["scale"] + p["bias"]
        return group_norm(x, p, eps=1e-6 if self.numerics == "vit_jax" else 1e-5)

    def __call__(self, images):
        """Returns the maps of all stages, in order."""
        p = self.params["stem"]
        x = relu(self.norm(self.conv(images, p["conv"], stride=2), p["norm"]))
        x = max_pool(x, centered=self.batch)
        maps, reached, dilation = [], 4, 1
        for index, depth in enumerate(self.blocks):
            # torchvision's replace_stride_with_dilation: a stage that may not stride
            # multiplies the dilation instead, from its second block on.
            stride, before = (1 if index == 0 else 2), dilation
            if reached * stride > self.output_stride:
                dilation, stride = dilation * stride, 1
            reached *= stride
            for number in range(depth):
                first = number == 0
                x = self.bottleneck(
                    x,
                    self.params["stages"][index]["blocks"][number],
                    stride=stride if first else 1,
                    dilation=before if first else dilation,
                )
            maps.append(x)
        return maps

    def bottleneck(self, x, p, *, stride, dilation):
        y = relu(self.norm(self.conv(x, p["conv1"]), p["norm1"]))
        y = self.conv(y, p["conv2"], stride=stride, dilation=dilation)
        y = relu(self.norm(y, p["norm2"]))
        y = self.norm(self.conv(y, p["conv3"]), p["norm3"])
        if "downsample" in p:
            shortcut = self.conv(x, p["downsample"]["conv"], stride=stride)
            x = self.norm(shortcut, p["downsample"]["norm"])
        return relu(x + y)


def relu(x):
    return np.maximum(x, 0.0)


def gelu(x, form):
    if form == "erf":
        return x * 0.5 * (1.0 + special.erf(x / np.sqrt(2.0)))
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def layer_norm(x, p, *, eps=1e-6):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(x.var(-1, keepdims=True) + eps) * p["scale"] + p["bias"]


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


def qkv(x, p):
    """Query, key and value from one kernel (D, 3, D): (..., 3, D)."""
    return np.einsum("...i,ipo->...po", x, p["kernel"]) + p["bias"]


def attend(query, key, value):
    """One image and head at a time; (B, N, heads, d)."""
    out = np.empty((*query.shape[:3], value.shape[-1]))
    for image in range(len(query)):
        for head in range(query.shape[2]):
            logits = query[image, :, head] @ key[image, :, head].T
            weights = special.softmax(logits / np.sqrt(query.shape[-1]), axis=-1)
            out[image, :, head] = weights @ value[image, :, head]
    return out


def vit_tokens(images, p, *, patch, heads, form="tanh", eps=1e-6):
    """Returns normed tokens (B, 1 + h * w, D) of a ViT with a class token."""
    B, H, W, _ = images.shape
    kernel, bias = p["embed"]["kernel"], p["embed"]["bias"]
    tokens = []
    for top in range(0, H, patch):
        for left in range(0, W, patch):
            window = images[:, top : top + patch, left : left + patch]
            token = np.einsum("bijc,ijcd->bd", window, kernel) + bias
            tokens.append(token + p["position"][top // patch, left // patch])
    cls = np.broadcast_to(p["cls"] + p["cls_position"], (B, 1, kernel.shape[-1]))
    x = np.concatenate([cls, np.stack(tokens, 1)], axis=1)
    for index in range(len(p["blocks"])):
        x = block(x, p["blocks"][index], heads=heads, form=form, eps=eps)
    return layer_norm(x, p["norm"], eps=eps)


def block(x, p, *, heads, form, eps):
    B, N, D = x.shape
    parts = qkv(layer_norm(x, p["norm1"], eps=eps), p["attn"]["qkv"])
    query, key, value = (
        parts[..., part, :].reshape(B, N, heads, D // heads) for part in range(3)
    )
    y = linear(attend(query, key, value).reshape(B, N, D), p["attn"]["out"])
    x = x + y * (p["scale1"]["gamma"] if "scale1" in p else 1.0)
    y = mlp(layer_norm(x, p["norm2"], eps=eps), p["mlp"], form)
    return x + y * (p["scale2"]["gamma"] if "scale2" in p else 1.0)


def mlp(x, p, form):
    return linear(gelu(linear(x, p["fc1"]), form), p["fc2"])


def attention_pool(x, p, *, heads, form="tanh"):
    """big_vision's MAP head: a probe attends, then a residual MLP."""
    B, N, D = x.shape
    query = np.broadcast_to(linear(p["probe"], p["query"]), (B, 1, D))
    key, value = linear(x, p["key"]), linear(x, p["value"])
    query, key, value = (a.reshape(B, -1, heads, D // heads) for a in (query, key, value))
    y = linear(attend(query, key, value).reshape(B, D), p["out"])
    return y + mlp(layer_norm(y, p["norm"]), p["mlp"], form)
