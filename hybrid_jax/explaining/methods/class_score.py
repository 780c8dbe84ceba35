"""The score of one class, from the outputs of any head."""

from collections.abc import Collection

import jax
import jax.numpy as jnp

from hybrid_jax.outputs import (
    ClassificationOutputs,
    DenseDetectionOutputs,
    Outputs,
    SegmentationOutputs,
    SetDetectionOutputs,
)


def number_of_classes(outputs: Outputs) -> int:
    """Returns K, also from the shapes of outputs alone."""
    if isinstance(outputs, SetDetectionOutputs):
        return outputs.layers[-1].logits.shape[-1] - outputs.has_no_object
    return outputs.logits.shape[-1]


def predicted_class(outputs: Outputs, *, leave_out: Collection[int] = ()) -> jax.Array:
    """Returns the class that is explained where none is named, (B,) int32.

    That is the most likely class, for boxes that of the best box, for masks the class of
    most pixels.

    Args:
        outputs: of a head.
        leave_out: classes that are not chosen, such as the background of masks.
    """
    if isinstance(outputs, SegmentationOutputs):
        winners = outputs.logits.argmax(-1).reshape(len(outputs.logits), -1)
        evidence = jax.nn.one_hot(winners, outputs.logits.shape[-1]).sum(1)
    else:
        evidence = _evidence(outputs)
    for number in leave_out:
        evidence = evidence.at[:, number].set(-jnp.inf)
    return evidence.argmax(-1).astype(jnp.int32)


def class_score(outputs: Outputs, classes: jax.Array) -> jax.Array:
    """Returns the score of a class before softmax or sigmoid, (B,) float32.

    Args:
        outputs: of a head. For labels it is the logit; for boxes the largest logit of all
            boxes; for masks the mean logit of the pixels where the class wins (Vinogradova
            et al., 2020), or of all pixels where it wins nowhere.
        classes: (B,) int32.
    """
    if isinstance(outputs, SegmentationOutputs):
        logits = outputs.logits
        of_class = jnp.take_along_axis(logits, classes[:, None, None, None], -1)[..., 0]
        wins = logits.argmax(-1) == classes[:, None, None]
        wins |= ~wins.any((1, 2), keepdims=True)
        return (of_class * wins).sum((1, 2)) / wins.sum((1, 2))
    return jnp.take_along_axis(_evidence(outputs), classes[:, None], 1)[:, 0]


def _evidence(outputs: Outputs) -> jax.Array:
    """Returns the largest logit of every class, (B, K)."""
    if isinstance(outputs, ClassificationOutputs):
        return outputs.logits
    if isinstance(outputs, DenseDetectionOutputs):
        return outputs.logits.max(1)
    assert isinstance(outputs, SetDetectionOutputs)
    logits = outputs.layers[-1].logits
    logits = logits[..., :-1] if outputs.has_no_object else logits
    return logits.max(1)
