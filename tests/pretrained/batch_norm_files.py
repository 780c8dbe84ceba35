"""A ResNet with BatchNorm by torch's names, written by hand, and timm's random ones."""

import numpy as np


def by_hand(*, blocks, width, deep=False, pooled=False, prefix=""):
    """Returns the arrays by file keys, and what our paths should hold."""
    random = np.random.default_rng(0)
    file, ours = {}, {}

    def layer(path, n, conv, norm, shape):
        array = random.standard_normal(shape).astype(np.float32)
        file[f"{prefix}{conv}.weight"] = array
        ours[f"backbone/resnet/{path}/conv{n}/kernel"] = np.einsum("oihw->hwio", array)
        for kind, word in dict(
            scale="weight", bias="bias", mean="running_mean", var="running_var"
        ).items():
            vector = random.uniform(0.5, 2.0, shape[:1]).astype(np.float32)
            file[f"{prefix}{norm}.{word}"] = vector
            ours[f"backbone/resnet/{path}/norm{n}/{kind}"] = vector
        file[f"{prefix}{norm}.num_batches_tracked"] = np.array(7, np.int64)

    if deep:
        half = width // 2
        layer("stem", 1, "conv1.0", "conv1.1", (half, 3, 3, 3))
        layer("stem", 2, "conv1.3", "conv1.4", (half, half, 3, 3))
        layer("stem", 3, "conv1.6", "bn1", (width, half, 3, 3))
    else:
        layer("stem", "", "conv1", "bn1", (width, 3, 7, 7))
    inputs = width
    for s, count in enumerate(blocks):
        middle = width * 2**s
        for u in range(count):
            path, name = f"stages/{s}/blocks/{u}", f"layer{s + 1}.{u}"
            layer(path, 1, f"{name}.conv1", f"{name}.bn1", (middle, inputs, 1, 1))
            layer(path, 2, f"{name}.conv2", f"{name}.bn2", (middle, middle, 3, 3))
            layer(path, 3, f"{name}.conv3", f"{name}.bn3", (4 * middle, middle, 1, 1))
            if u == 0:
                a, b = (f"{name}.downsample.{n + pooled}" for n in (0, 1))
                layer(f"{path}/downsample", "", a, b, (4 * middle, inputs, 1, 1))
            inputs = 4 * middle
    return file, ours


def with_statistics(model):
    """Gives a torch model's BatchNorms random running statistics."""
    import torch

    generator = torch.Generator().manual_seed(1)
    for name, array in model.named_buffers():
        if name.endswith("running_mean"):
            array.copy_(0.3 * torch.randn(array.shape, generator=generator))
        elif name.endswith("running_var"):
            array.copy_(torch.exp(0.3 * torch.randn(array.shape, generator=generator)))
    return model
