"""Small files that stand for published ones, and models as names and shapes alone."""

import pathlib

import numpy as np
from flax import nnx
from google_writer import GoogleModel, drawn, expected, shapes

from hybrid_jax.pretrained.load import leaves_by_path

# As wide as the parts of the tests over all fusions.
HYBRID = GoogleModel(
    blocks=(1, 1, 1, 1),
    patch=1,
    width=48,
    depth=4,
    heads=3,
    mlp=80,
    grid=(2, 2),
    classes=5,
)
PLAIN = GoogleModel(patch=16, width=48, depth=4, heads=3, mlp=80, grid=(5, 5), classes=7)


def donor(
    folder: pathlib.Path, model: GoogleModel, *, name: str = "donor.npz", seed: int = 0
) -> tuple[pathlib.Path, dict[str, np.ndarray]]:
    """Writes a random file; returns its path and what a model filled with it holds."""
    file = drawn(shapes(model), seed=seed)
    path = folder / name
    np.savez(path, **file)
    return path, expected(model, file)


def shapes_of(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Returns path -> shape of every array of a model, built or only described."""
    leaves = leaves_by_path(nnx.to_pure_dict(nnx.state(model)))
    return {path: leaf.shape for path, leaf in leaves.items()}


def arrays_of(model: nnx.Module) -> dict[str, np.ndarray]:
    """Returns path -> array of a built model."""
    leaves = leaves_by_path(nnx.to_pure_dict(nnx.state(model)))
    return {path: np.asarray(leaf) for path, leaf in leaves.items()}
