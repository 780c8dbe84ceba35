"""Small timm models with random weights, and their files."""

import functools

import numpy as np
import pytest

timm = pytest.importorskip("timm", reason="timm is not installed: nothing to compare with")
torch = pytest.importorskip("torch", reason="torch is not installed")

import jax  # noqa: E402
import safetensors.torch  # noqa: E402
from flax import nnx  # noqa: E402
from timm.layers import HybridEmbed  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402
from timm.models.vision_transformer_hybrid import _resnetv2  # noqa: E402

TINY = dict(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4, num_classes=10)


def plain(**fields) -> VisionTransformer:
    """Returns a tiny ViT of timm, `fields` changed, with random weights."""
    return randomized(VisionTransformer(**(TINY | fields)))


def hybrid(layers, **fields) -> VisionTransformer:
    """Returns a tiny hybrid, its backbone built as those of timm's own entries are."""
    embed = functools.partial(HybridEmbed, backbone=_resnetv2(layers))
    fields = dict(patch_size=1, embed_layer=embed) | fields
    return randomized(VisionTransformer(**(TINY | fields)))


def randomized(model):
    """Makes every array of a model tell: none stays zero or one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, array in model.named_parameters():
            values = torch.randn(array.shape, generator=generator)
            if array.ndim == 1:
                # Of norms and LayerScale the factors stay near one, so that all layers
                # are heard at the end.
                factor = name.endswith(("weight", "gamma"))
                array.copy_((1.0 if factor else 0.0) + 0.3 * values)
            elif name.endswith("weight"):
                array.copy_(values / array[0].numel() ** 0.5)
            else:
                array.copy_(0.5 * values)
    return model.eval()


def save(model, path, **arrays):
    """Writes a model's arrays, and `arrays` beside them, and returns the path."""
    state = {name: array.contiguous() for name, array in model.state_dict().items()}
    safetensors.torch.save_file(state | arrays, path)
    return path


def images(hw, *, seed=1) -> np.ndarray:
    """Returns two random images (2, H, W, 3), as normalized ones are."""
    return np.random.default_rng(seed).standard_normal((2, *hw, 3)).astype(np.float32)


@nnx.jit
def ours(model, batch) -> jax.Array:
    """Returns the logits that a model of this library makes of images (B, H, W, 3)."""
    return model(batch).logits


def answer(model, batch: np.ndarray) -> np.ndarray:
    """Returns what timm's model makes of images (B, H, W, 3)."""
    with torch.no_grad():
        return model(torch.from_numpy(batch).permute(0, 3, 1, 2)).numpy()
