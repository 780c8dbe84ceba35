"""Files as transformers writes them, in plain numpy and from the documented names alone."""

import re

import numpy as np
import safetensors.numpy

D, DEPTH, HIDDEN, HEADS, CLASSES = 24, 2, 40, 3, 5


class Pair:
    """A file and the model it fills, grown together.

    Attributes:
        file: key -> array.
        ours: path -> array.
        depth: layers of the ViT.
    """

    def __init__(self, *, depth: int = DEPTH, seed: int = 0):
        self.depth = depth
        self.file: dict[str, np.ndarray] = {}
        self.ours: dict[str, np.ndarray] = {}
        self.draw = np.random.default_rng(seed).standard_normal

    def only(self, key, *shape) -> np.ndarray:
        """Adds an array to the file alone."""
        self.file[key] = self.draw(shape).astype(np.float32)
        return self.file[key]

    def linear(self, path, key, outputs, inputs):
        self.ours[f"{path}/kernel"] = self.only(f"{key}.weight", outputs, inputs).T
        self.ours[f"{path}/bias"] = self.only(f"{key}.bias", outputs)

    def norm(self, path, key, width):
        self.ours[f"{path}/scale"] = self.only(f"{key}.weight", width)
        self.ours[f"{path}/bias"] = self.only(f"{key}.bias", width)

    def conv(self, path, key, outputs, inputs, side):
        kernel = self.only(f"{key}.weight", outputs, inputs, side, side)
        self.ours[f"{path}/kernel"] = np.einsum("oiyx->yxio", kernel)

    def vit(self, prefix, *, embed, channels, patch, grid):
        """Adds embedding, tokens, positions, layers and the last norm."""
        vit, at = "backbone/vit", f"{prefix}embeddings"
        self.conv(f"{vit}/embed", f"{at}.{embed}", D, channels, patch)
        self.ours[f"{vit}/embed/bias"] = self.only(f"{at}.{embed}.bias", D)
        self.ours[f"{vit}/cls"] = self.only(f"{at}.cls_token", 1, 1, D)[0]
        h, w = grid
        table = self.only(f"{at}.position_embeddings", 1, 1 + h * w, D)[0]
        self.ours[f"{vit}/cls_position"] = table[:1]
        rows = [table[1 + w * y : 1 + w * y + w] for y in range(h)]
        self.ours[f"{vit}/position"] = np.stack(rows)
        for i in range(self.depth):
            self._layer(f"{vit}/blocks/{i}", f"{prefix}encoder.layer.{i}")
        self.norm(f"{vit}/norm", f"{prefix}layernorm", D)

    def _layer(self, path, key):
        self.norm(f"{path}/norm1", f"{key}.layernorm_before", D)
        self.norm(f"{path}/norm2", f"{key}.layernorm_after", D)
        weights, biases = [], []
        for name in ("query", "key", "value"):
            at = f"{key}.attention.attention.{name}"
            weights.append(self.only(f"{at}.weight", D, D))
            biases.append(self.only(f"{at}.bias", D))
        self.ours[f"{path}/attn/qkv/kernel"] = np.stack([w.T for w in weights], 1)
        self.ours[f"{path}/attn/qkv/bias"] = np.stack(biases)
        self.linear(f"{path}/attn/out", f"{key}.attention.output.dense", D, D)
        self.linear(f"{path}/mlp/fc1", f"{key}.intermediate.dense", HIDDEN, D)
        self.linear(f"{path}/mlp/fc2", f"{key}.output.dense", D, HIDDEN)

    def resnet(self, at, *, blocks, width):
        """Adds a ResNet under the key `at` and returns the channels of its last map."""
        self.conv("backbone/resnet/stem/conv", f"{at}.embedder.convolution", width, 3, 7)
        self.norm("backbone/resnet/stem/norm", f"{at}.embedder.norm", width)
        channels = width
        for s, count in enumerate(blocks):
            middle = width * 2**s
            for u in range(count):
                path = f"backbone/resnet/stages/{s}/blocks/{u}"
                key = f"{at}.encoder.stages.{s}.layers.{u}"
                sizes = [
                    (middle, channels, 1),
                    (middle, middle, 3),
                    (4 * middle, middle, 1),
                ]
                for n, size in enumerate(sizes, start=1):
                    self.conv(f"{path}/conv{n}", f"{key}.conv{n}", *size)
                    self.norm(f"{path}/norm{n}", f"{key}.norm{n}", size[0])
                if u == 0:
                    path, key = f"{path}/downsample", f"{key}.downsample"
                    self.conv(f"{path}/conv", f"{key}.conv", 4 * middle, channels, 1)
                    self.norm(f"{path}/norm", f"{key}.norm", 4 * middle)
                channels = 4 * middle
        return channels


def renamed(file: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a file under the names that layers have in transformers 5."""
    names = {
        "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj",
        "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    found = {}
    for key, array in file.items():
        new = re.sub(r"encoder\.layer\.", "layers.", key)
        if new != key:
            old = next((name for name in names if f".{name}." in new), None)
            new = new.replace(old, names[old]) if old else new
        found[new] = array
    return found


def save(path, file: dict[str, np.ndarray]):
    """Writes a `.safetensors` file and returns its path."""
    safetensors.numpy.save_file({k: np.ascontiguousarray(a) for k, a in file.items()}, path)
    return path
