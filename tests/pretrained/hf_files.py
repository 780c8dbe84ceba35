"""Small transformers models with random weights, and their files."""

import numpy as np
import pytest

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: nothing to compare with"
)
torch = pytest.importorskip("torch", reason="torch is not installed")

import safetensors.torch  # noqa: E402

TINY = dict(
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=48,
    num_labels=5,
)
VIT = TINY | dict(image_size=32, patch_size=8)
# Three stages as in the published one, and maps of 4 x 4 tokens.
DPT = TINY | dict(
    is_hybrid=True,
    image_size=64,
    patch_size=16,
    backbone_out_indices=[0, 0, 1, 2],
    backbone_featmap_shape=[1, 512, 4, 4],
    neck_hidden_sizes=[128, 256, 32, 32],
    fusion_hidden_size=16,
    backbone_config=dict(
        model_type="bit",
        embedding_size=32,
        hidden_sizes=[128, 256, 512],
        depths=[1, 2, 1],
        layer_type="bottleneck",
        global_padding="same",
        embedding_dynamic_padding=True,
        out_features=["stage1", "stage2", "stage3"],
    ),
)


def randomized(model, *, faint: bool = False):
    """Makes every array of a model tell: none stays zero or one.

    Args:
        faint: whether what comes before a norm is so small that its epsilon is heard.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, array in model.named_parameters():
            values = torch.randn(array.shape, generator=generator)
            if array.ndim == 1:
                factor = "norm" in name and name.endswith("weight")
                array.copy_((1.0 if factor else 0.0) + 0.3 * values)
            elif name.endswith("weight"):
                array.copy_(values / array[0].numel() ** 0.5)
            else:
                array.copy_(0.5 * values)
            if faint and ("backbone" in name and array.ndim == 4):
                array.mul_(1e-4)
            if faint and ("embeddings" in name and "backbone" not in name):
                array.mul_(1e-3)
    return model.eval()


def saved(model, folder):
    """Returns the file that transformers itself writes."""
    model.save_pretrained(folder)
    return folder / "model.safetensors"


def state_saved(model, folder):
    """Returns a file of the arrays as the running model names them."""
    state = {name: array.contiguous() for name, array in model.state_dict().items()}
    safetensors.torch.save_file(state, folder / "state.safetensors")
    return folder / "state.safetensors"


WAYS = {"save_pretrained": saved, "state_dict": state_saved}


def images(side: int, *, seed: int = 1) -> np.ndarray:
    """Returns two random images (2, side, side, 3), as normalized ones are."""
    draw = np.random.default_rng(seed).standard_normal
    return draw((2, side, side, 3)).astype(np.float32)


def answer(model, batch: np.ndarray):
    """Returns what a model of transformers makes of images (B, H, W, 3)."""
    with torch.no_grad():
        return model(torch.from_numpy(batch).permute(0, 3, 1, 2))
