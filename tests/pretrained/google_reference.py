"""What a file of Google's libraries answers, in float64 numpy."""

import numpy as np
from google_writer import GoogleModel
from models import float64_reference as reference


def answer(model: GoogleModel, ours: dict[str, np.ndarray], images, **numerics):
    """Returns logits (B, K) of what `google_writer.expected` says the file holds.

    Args:
        images: (B, H, W, 3), a whole number of patches of the file's own grid.
        numerics: `resnet`, the form of epsilons in the ResNet; `gelu`, that of the ViT.
    """
    tree = _nested(ours)
    vit, x = tree["backbone"]["vit"], np.asarray(images, np.float64)
    if model.blocks is not None:
        x = _cells(model, tree["backbone"]["resnet"], x, numerics.get("resnet", "vit_jax"))
    form = numerics.get("gelu", "tanh")
    x = _tokens(model, vit, x)
    for i in range(model.depth):
        x = reference.block(
            x, vit["blocks"][str(i)], heads=model.heads, form=form, eps=1e-6
        )
    x = reference.layer_norm(x, vit["norm"])
    if model.pool == "attention":
        pool = vit["probe_pool"]
        x = reference.attention_pool(x, pool, heads=model.heads, form=form)
    else:
        x = x[:, 0] if model.pool == "cls" else x.mean(1)
    if model.pre_logits:
        x = np.tanh(reference.linear(x, tree["head"]["pre_logits"]))
    return reference.linear(x, tree["head"]["logits"])


def _cells(model: GoogleModel, tree, images, numerics):
    resnet = reference.ResNet(
        _listed(tree), blocks=model.blocks, norm="group", numerics=numerics
    )
    if model.blocks:
        return resnet(images)[-1]
    stem = tree["stem"]
    x = resnet.norm(resnet.conv(images, stem["conv"], stride=2), stem["norm"])
    return reference.max_pool(reference.relu(x), centered=False)


def _tokens(model: GoogleModel, vit, x):
    p, (h, w) = model.patch, model.grid
    table = vit["position"] if "position" in vit else _fixed(h, w, model.width)
    tokens = []
    for row in range(h):
        for column in range(w):
            window = x[:, row * p : (row + 1) * p, column * p : (column + 1) * p]
            token = np.einsum("bijc,ijcd->bd", window, vit["embed"]["kernel"])
            tokens.append(token + vit["embed"]["bias"] + table[row, column])
    if model.pool == "cls":
        first = vit["cls"] + vit.get("cls_position", 0.0)
        tokens.insert(0, np.broadcast_to(first, (len(x), model.width)))
    return np.stack(tokens, axis=1)


def _fixed(h, w, width):
    """Sines and cosines of column and row, frequencies from 1 to 1 / 10,000."""
    table = np.zeros((h, w, width))
    quarter = width // 4
    for row in range(h):
        for column in range(w):
            for n in range(quarter):
                frequency = 10_000.0 ** (-n / (quarter - 1))
                for part, angle in enumerate((column, column, row, row)):
                    wave = np.cos if part % 2 else np.sin
                    table[row, column, part * quarter + n] = wave(angle * frequency)
    return table


def _nested(ours):
    tree = {}
    for path, array in ours.items():
        *branches, last = path.split("/")
        node = tree
        for name in branches:
            node = node.setdefault(name, {})
        node[last] = np.asarray(array, np.float64)
    return tree


def _listed(resnet):
    """Stages and blocks by number, as the reference counts them."""
    stages = {
        int(s): {"blocks": {int(u): unit for u, unit in stage["blocks"].items()}}
        for s, stage in resnet.get("stages", {}).items()
    }
    return resnet | {"stages": stages}
