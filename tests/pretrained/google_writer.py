"""Files as Google's JAX libraries write them, in plain numpy and by the book alone.

Nothing here imports the library's dialects: `shapes` lists a file's arrays from what is
published about the layout (ViT, 2020; AugReg, 2021; big_vision), `expected` says what a
model filled with them holds, and the rest turns one spelling of a file into another.
"""

import dataclasses
import re

import numpy as np

_ATTENTION = "MultiHeadDotProductAttention_0"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoogleModel:
    """The numbers of a ViT or a hybrid; the defaults are a tiny one.

    Attributes:
        blocks: units per ResNet stage; () for the root alone, None for no ResNet.
        root: channels of the root.
        patch: cells of what is embedded, per token and side.
        pool: "cls", "mean", or "attention" (big_vision's MAP).
        positions: "with cls" (one table, the class token's row first), "grid" (rows of
            the patches alone), or "none" (fixed ones, which no file holds).
        at: the key of the table.
        classes: K, 0 for no head.
        pre_logits: width of the tanh layer before the head, 0 for none.
    """

    blocks: tuple[int, ...] | None = None
    root: int = 32
    patch: int = 8
    width: int = 32
    depth: int = 2
    heads: int = 4
    mlp: int = 48
    grid: tuple[int, int] = (3, 3)
    classes: int = 5
    pool: str = "cls"
    positions: str = "with cls"
    at: str = "Transformer/posembed_input/pos_embedding"
    pre_logits: int = 0


def shapes(model: GoogleModel) -> dict[str, tuple[int, ...]]:
    """Returns key -> shape of a file, blocks numbered and spelled as Linen does."""
    found, channels = {}, 3
    if model.blocks is not None:
        found, channels = _resnet_shapes(model)
    D, h, w = model.width, *model.grid
    found["embedding/kernel"] = (model.patch, model.patch, channels, D)
    found["embedding/bias"] = (D,)
    if model.pool == "cls":
        found["cls"] = (1, 1, D)
    if model.positions != "none":
        found[model.at] = (1, h * w + (model.positions == "with cls"), D)
    for i in range(model.depth):
        at = f"Transformer/encoderblock_{i}"
        found |= _norm(f"{at}/LayerNorm_0", D) | _norm(f"{at}/LayerNorm_1", D)
        found |= _attention(f"{at}/{_ATTENTION}", model)
        found |= _mlp(f"{at}/MlpBlock_0", model)
    found |= _norm("Transformer/encoder_norm", D)
    if model.pool == "attention":
        found["MAPHead_0/probe"] = (1, 1, D)
        found |= _norm("MAPHead_0/LayerNorm_0", D)
        found |= _attention(f"MAPHead_0/{_ATTENTION}", model)
        found |= _mlp("MAPHead_0/MlpBlock_0", model)
    if model.pre_logits:
        found["pre_logits/kernel"] = (D, model.pre_logits)
        found["pre_logits/bias"] = (model.pre_logits,)
    if model.classes:
        found["head/kernel"] = (model.pre_logits or D, model.classes)
        found["head/bias"] = (model.classes,)
    return found


def _resnet_shapes(model: GoogleModel):
    found = {"conv_root/kernel": (7, 7, 3, model.root)} | _norm("gn_root", model.root)
    channels = model.root
    for stage, units in enumerate(model.blocks, start=1):
        middle = model.root * 2 ** (stage - 1)
        for unit in range(1, units + 1):
            at = f"block{stage}/unit{unit}"
            found[f"{at}/conv1/kernel"] = (1, 1, channels, middle)
            found[f"{at}/conv2/kernel"] = (3, 3, middle, middle)
            found[f"{at}/conv3/kernel"] = (1, 1, middle, 4 * middle)
            found |= _norm(f"{at}/gn1", middle) | _norm(f"{at}/gn2", middle)
            found |= _norm(f"{at}/gn3", 4 * middle)
            if unit == 1:
                found[f"{at}/conv_proj/kernel"] = (1, 1, channels, 4 * middle)
                found |= _norm(f"{at}/gn_proj", 4 * middle)
            channels = 4 * middle
    return found, channels


def _norm(at: str, width: int):
    return {f"{at}/scale": (width,), f"{at}/bias": (width,)}


def _attention(at: str, model: GoogleModel):
    D, heads = model.width, model.heads
    d = D // heads
    found = {f"{at}/out/kernel": (heads, d, D), f"{at}/out/bias": (D,)}
    for name in ("query", "key", "value"):
        found |= {f"{at}/{name}/kernel": (D, heads, d), f"{at}/{name}/bias": (heads, d)}
    return found


def _mlp(at: str, model: GoogleModel):
    D, hidden = model.width, model.mlp
    return {
        f"{at}/Dense_0/kernel": (D, hidden),
        f"{at}/Dense_0/bias": (hidden,),
        f"{at}/Dense_1/kernel": (hidden, D),
        f"{at}/Dense_1/bias": (D,),
    }


def drawn(of: dict[str, tuple[int, ...]], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns random float32 arrays of these shapes; activations stay of order one."""
    rng = np.random.default_rng(seed)
    found = {}
    for key, shape in of.items():
        noise = rng.standard_normal(shape)
        if key.endswith("scale"):
            noise = 1.0 + 0.2 * noise
        elif key.endswith("kernel"):
            inputs = shape[:-1]
            if re.search("query|key/|value", key):
                inputs = shape[:1]
            noise = noise / np.sqrt(np.prod(inputs))
        else:
            noise = 0.3 * noise
        found[key] = noise.astype(np.float32)
    return found


def expected(model: GoogleModel, file: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns path -> array of a model filled with a file that is spelled as `shapes`."""
    ours = {}

    def same(path, key, parts=("kernel", "bias")):
        for part in parts:
            ours[f"backbone/{path}/{part}"] = file[f"{key}/{part}"]

    norm = ("scale", "bias")
    if model.blocks is not None:
        same("resnet/stem/conv", "conv_root", ["kernel"])
        same("resnet/stem/norm", "gn_root", norm)
    for s, units in enumerate(model.blocks or ()):
        for u in range(units):
            path, key = f"resnet/stages/{s}/blocks/{u}", f"block{s + 1}/unit{u + 1}"
            for n in (1, 2, 3):
                same(f"{path}/conv{n}", f"{key}/conv{n}", ["kernel"])
                same(f"{path}/norm{n}", f"{key}/gn{n}", norm)
            if u == 0:
                same(f"{path}/downsample/conv", f"{key}/conv_proj", ["kernel"])
                same(f"{path}/downsample/norm", f"{key}/gn_proj", norm)
    same("vit/embed", "embedding")
    for i in range(model.depth):
        path, key = f"vit/blocks/{i}", f"Transformer/encoderblock_{i}"
        same(f"{path}/norm1", f"{key}/LayerNorm_0", norm)
        same(f"{path}/norm2", f"{key}/LayerNorm_1", norm)
        same(f"{path}/mlp/fc1", f"{key}/MlpBlock_0/Dense_0")
        same(f"{path}/mlp/fc2", f"{key}/MlpBlock_0/Dense_1")
        at = f"{key}/{_ATTENTION}"
        # The heads of the queries side by side; below them the keys' and the values'.
        for part in ("kernel", "bias"):
            ours[f"backbone/{path}/attn/qkv/{part}"] = np.stack(
                [
                    np.concatenate(
                        [
                            file[f"{at}/{name}/{part}"][..., head, :]
                            for head in range(model.heads)
                        ],
                        axis=-1,
                    )
                    for name in ("query", "key", "value")
                ],
                axis=-2,
            )
        ours |= _projections(f"backbone/{path}/attn", at, model, file, ["out"])
    same("vit/norm", "Transformer/encoder_norm", norm)
    if model.pool == "attention":
        ours |= _map_head(model, file)
    ours |= _tokens(model, file)
    heads = {"logits": "head"} if model.classes else {}
    heads |= {"pre_logits": "pre_logits"} if model.pre_logits else {}
    for name, key in heads.items():
        for part in ("kernel", "bias"):
            ours[f"head/{name}/{part}"] = file[f"{key}/{part}"]
    return ours


def _projections(path, key, model: GoogleModel, file, names):
    """Heads side by side: columns of what goes in, rows of what comes out."""
    ours = {}
    for name in names:
        kernel, bias = file[f"{key}/{name}/kernel"], file[f"{key}/{name}/bias"]
        if name == "out":
            kernel = np.concatenate([kernel[head] for head in range(model.heads)])
        else:
            heads = range(model.heads)
            kernel = np.concatenate([kernel[:, head] for head in heads], axis=1)
            bias = np.concatenate([bias[head] for head in heads])
        ours |= {f"{path}/{name}/kernel": kernel, f"{path}/{name}/bias": bias}
    return ours


def _map_head(model: GoogleModel, file):
    ours = {"backbone/vit/probe_pool/probe": file["MAPHead_0/probe"][0]}
    for part in ("scale", "bias"):
        at = f"backbone/vit/probe_pool/norm/{part}"
        ours[at] = file[f"MAPHead_0/LayerNorm_0/{part}"]
    for n in (0, 1):
        for part in ("kernel", "bias"):
            at = f"backbone/vit/probe_pool/mlp/fc{n + 1}/{part}"
            ours[at] = file[f"MAPHead_0/MlpBlock_0/Dense_{n}/{part}"]
    names = ("query", "key", "value", "out")
    at = f"MAPHead_0/{_ATTENTION}"
    return ours | _projections("backbone/vit/probe_pool", at, model, file, names)


def _tokens(model: GoogleModel, file):
    ours = {}
    if model.pool == "cls":
        ours["backbone/vit/cls"] = file["cls"][0]
    if model.positions == "none":
        return ours
    rows = list(file[model.at][0])
    if model.pool == "cls":
        # A table without a row for it leaves the class token where it is.
        first = rows.pop(0) if model.positions == "with cls" else 0.0 * rows[0]
        ours["backbone/vit/cls_position"] = first[None]
    h, w = model.grid
    table = [[rows[y * w + x] for x in range(w)] for y in range(h)]
    return ours | {"backbone/vit/position": np.array(table)}


def pre_linen(file: dict) -> dict:
    """Returns a file with the modules of a block numbered one after another."""
    names = {
        "LayerNorm_0": "LayerNorm_0",
        _ATTENTION: "MultiHeadDotProductAttention_1",
        "LayerNorm_1": "LayerNorm_2",
        "MlpBlock_0": "MlpBlock_3",
    }
    found = {}
    for key, array in file.items():
        words = key.split("/")
        if words[0] == "Transformer" and words[1].startswith("encoderblock"):
            words[2] = names[words[2]]
        found["/".join(words)] = array
    return found


def four_axes(file: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a file whose GroupNorms keep (1, 1, 1, C), as those of 2020 do."""
    return {
        key: array[None, None, None] if re.search(r"(^|/)gn(\d|_)", key) else array
        for key, array in file.items()
    }


def under(prefix: str, file: dict, **beside) -> dict:
    """Returns a file with `prefix` before every key, and what may stand beside it."""
    return {f"{prefix}{key}": array for key, array in file.items()} | beside


def scanned(file: dict[str, np.ndarray], *, depth: int) -> dict[str, np.ndarray]:
    """Returns a file whose blocks are one, with an axis for the depth before the others."""
    found = {}
    for key, array in file.items():
        if "encoderblock_" not in key:
            found[key] = array
        elif "encoderblock_0/" in key:
            layers = [key.replace("block_0/", f"block_{i}/") for i in range(depth)]
            stack = np.stack([file[layer] for layer in layers])
            found[key.replace("encoderblock_0/", "encoderblock/")] = stack
    return found


def save(path, file: dict[str, np.ndarray]):
    """Writes an `.npz` and returns its path."""
    np.savez(path, **file)
    return path
