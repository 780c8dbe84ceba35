"""`explain`: what a model looked at in some images."""

import functools
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_jax.errors import UserError
from hybrid_jax.explaining.explanation import Explanation
from hybrid_jax.explaining.from_seen import SeenModel
from hybrid_jax.explaining.methods.class_score import (
    class_score,
    number_of_classes,
    predicted_class,
)
from hybrid_jax.explaining.observed_model import Seen, run_observed
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.models.image_grid import hw_of
from hybrid_jax.ops.compiler_options import cpu_options

# Model -> its graph and its program. Nothing here keeps a model alive.
_PROGRAMS: weakref.WeakKeyDictionary[Hybrid, tuple[Any, Any]] = weakref.WeakKeyDictionary()


def explain(
    model: Hybrid,
    images: jax.Array | np.ndarray,
    *,
    classes: Sequence[int] | np.ndarray | None = None,
    content_yxyx_px: np.ndarray | None = None,
    leave_out: Collection[int] = (),
) -> Explanation:
    """Returns what a model of any fusion and head looked at.

    One forward and one backward pass in evaluation mode, with attention weights written
    out: (heads, N, N) float32 per block and image. The model is not changed.

    Args:
        model: from `create_model`, `load_trained` or `load_pretrained`.
        images: (B, H, W, 3) float32, normalized as for the model itself.
        classes: (B,), the class to explain of each image; by default the predicted one.
        content_yxyx_px: (B, 4), the part of each image that is not padding, as for the
            model; None if there is no padding.
        leave_out: classes that are not chosen by default, such as the background.

    Returns:
        Arrays of numpy. What the fusion has not is named in `missing`.

    Raises:
        UserError: no model, images or classes of another shape, images that are not
            normalized, or an unknown class.
    """
    if not isinstance(model, Hybrid):
        raise UserError(
            f"explain: model: expected a model in memory, got {type(model).__name__}. That "
            f"of a run: hybrid_jax.load_trained(workdir)."
        )
    _check_images(images)
    if classes is not None:
        _check_classes(classes, count=len(images))
    graph, state = nnx.split(model)
    images = jnp.asarray(images)
    named = [*leave_out, *([] if classes is None else classes)]
    if named:
        outputs = jax.eval_shape(lambda s, x: nnx.merge(graph, s)(x), state, images)
        count = number_of_classes(outputs)
        if unknown := [number for number in named if not 0 <= number < count]:
            raise UserError(
                f"explain: classes: expected 0 to {count - 1}, got {unknown[0]}."
            )
    chosen = None if classes is None else jnp.asarray(classes, jnp.int32)
    content = None if content_yxyx_px is None else jnp.asarray(content_yxyx_px)
    program = _program(model, graph)
    found = program(
        state,
        images,
        classes=chosen,
        content_yxyx_px=content,
        leave_out=tuple(leave_out),
    )
    return jax.device_get(found)


def _check_images(images: jax.Array | np.ndarray) -> None:
    if np.ndim(images) != 4 or np.shape(images)[-1] != 3 or not len(images):
        raise UserError(
            f"explain: images: expected (B, H, W, 3), B at least 1, got "
            f"{np.shape(images)}. Put a single image into a batch: images[None]."
        )
    kind = jnp.asarray(images).dtype
    if not jnp.issubdtype(kind, jnp.floating):
        raise UserError(
            f"explain: images: expected normalized floats, got {kind}. As in training with "
            f"model.normalization 'half': images / 127.5 - 1."
        )


def _check_classes(classes: Sequence[int] | np.ndarray, *, count: int) -> None:
    if np.shape(classes) != (count,):
        raise UserError(
            f"explain: classes: expected one for each of the {count} images, got shape "
            f"{np.shape(classes)}."
        )
    kind = np.asarray(classes).dtype
    if not np.issubdtype(kind, np.integer):
        raise UserError(f"explain: classes: expected whole numbers, got {kind}.")


def _program(model: Hybrid, graph: nnx.GraphDef) -> Callable[..., Explanation]:
    """Returns the compiled-on-first-call program of a model, the same for every call."""
    known, program = _PROGRAMS.get(model, (None, None))
    # Folding changes a model; graphs can be compared but have no hash.
    if program is None or known != graph:
        program = jax.jit(
            functools.partial(explain_traced, graph),
            static_argnames="leave_out",
            compiler_options=cpu_options(),
        )
        _PROGRAMS[model] = (graph, program)
    return program


def explain_traced(
    graph: nnx.GraphDef,
    state: Any,
    images: jax.Array,
    *,
    classes: jax.Array | None = None,
    content_yxyx_px: jax.Array | None = None,
    leave_out: tuple[int, ...] = (),
) -> Explanation:
    """Does the work of `explain` inside a traced function; arguments as there.

    Args:
        graph: of the model, by `nnx.split`.
        state: all its arrays.
    """

    def score(shifts) -> tuple[jax.Array, tuple[Seen, jax.Array, jax.Array]]:
        seen = run_observed(
            graph, state, images, shifts=shifts, content_yxyx_px=content_yxyx_px
        )
        chosen = classes
        if chosen is None:
            chosen = predicted_class(seen.outputs, leave_out=leave_out)
        scores = class_score(seen.outputs, chosen)
        return scores.sum(), (seen, chosen, scores)

    shapes = jax.eval_shape(lambda: score({})[1][0].maps)
    zeros = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
    gradients, (seen, chosen, scores) = jax.grad(score, has_aux=True)(zeros)
    model = nnx.merge(graph, state, copy=True)
    found = SeenModel(model, seen, image_hw=hw_of(images))
    return found.explanation(gradients, classes=chosen, scores=scores)
