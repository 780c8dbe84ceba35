"""The forward pass of one image, traced: what it multiplies and what it returns."""

import jax
import jax.numpy as jnp
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.programs.flop_count import Flow, follow
from hybrid_jax.train.optimization.optimizer import branch_of
from hybrid_jax.train.state import TrainState, merge_model, path_name

IMAGES = "images"
"""The origin of what is computed from images, beside the names of branches."""


def trace_forward(
    graph: nnx.GraphDef[Hybrid], shapes: TrainState, *, image_size: tuple[int, int]
) -> tuple[Features, Flow]:
    """Traces the evaluation of one image; returns the features' shapes and the products.

    The products are those of the model, in the plain form that a CPU runs: rows that a
    fused kernel adds to fill its tiles are not counted.

    Args:
        graph: definition of the model.
        shapes: of the state.
        image_size: (H, W) in px.
    """

    def forward(params, mutable, images):
        model = merge_model(graph, params, mutable)
        features = model.features(images, train=False)
        return features, model.head(features, train=False)

    images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    state = (shapes.params, shapes.mutable)
    with tracing_for("cpu"):
        traced, (features, _) = jax.make_jaxpr(forward, return_shape=True)(*state, images)
    origins = [
        frozenset({branch_of(path_name(path[1:]))})
        for path, _ in jax.tree_util.tree_leaves_with_path(state)
    ]
    return features, follow(traced, [*origins, frozenset({IMAGES})])
