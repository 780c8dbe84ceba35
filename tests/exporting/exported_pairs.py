"""Small models of any fusion and head, and how far their exported programs are off."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

import hybrid_jax
from hybrid_jax.exporting.program import Program, exported, network_program
from hybrid_jax.models.layers.folding import fold

BUILT_FOR = (64, 96)
OTHER_HW = (96, 128)
CELL = "32"  # px; a multiple of all strides
K = 5


@functools.cache
def program_of(fusion: str, head: str) -> Program:
    """Returns the program of a folded model with lively weights, of four stages."""

    def build():
        return hybrid_jax.create_model(
            "tiny",
            num_classes=K,
            image_size=BUILT_FOR,
            fusion=fusion,
            head=head,
            resnet_options=dict(blocks=(1, 1, 1, 1), width=32),
            vit_options=dict(width=48, depth=4, num_heads=3, mlp_dim=80),
        )

    graph, state = nnx.split(nnx.eval_shape(build))
    rng = np.random.default_rng(0)

    def lively(leaf):
        noise = 0.15 * rng.standard_normal(leaf.shape)
        return jnp.asarray(np.abs(noise) if len(leaf.shape) < 2 else noise, leaf.dtype)

    model = nnx.merge(graph, jax.tree.map(lively, state))
    fold(model)
    return network_program(model, image_hw=BUILT_FOR)


def lowered(fusion: str, head: str) -> tuple[str, export.Exported]:
    """Returns "any" or "one", the sizes of images that a program takes, and the program."""
    program = program_of(fusion, head)
    try:
        return "any", exported(program, sides=CELL)
    except Exception:  # of many kinds, wherever a number of cells is needed
        return "one", exported(program)


def difference(fusion: str, head: str) -> tuple[str, float]:
    """Returns the sizes a program takes, and its difference from the model in memory.

    The program is written to bytes and read again, and runs on a batch, and where it can a
    size, that it was not traced with. The difference is the largest of any output, relative
    to the largest of this output.
    """
    program = program_of(fusion, head)
    sizes, made = lowered(fusion, head)
    again = export.deserialize(bytearray(made.serialize()))
    stored = io.BytesIO()
    np.savez(stored, **jax.device_get(program.weights))
    weights = dict(np.load(io.BytesIO(stored.getvalue())))
    hw = OTHER_HW if sizes == "any" else BUILT_FOR
    images = np.random.default_rng(1).standard_normal((3, *hw, 3)).astype(np.float32)
    ours = jax.jit(program.function)(program.weights, images)
    theirs = again.call(weights, images)
    assert set(theirs) == set(program.meanings)
    return sizes, max(
        float(jnp.max(jnp.abs(ours[k] - theirs[k])) / (jnp.max(jnp.abs(ours[k])) + 1e-9))
        for k in ours
    )
