"""Where queries come from: cells that are chosen, and objects with noise on them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from parameters import random_like

from hybrid_jax.models.detr.denoising import Denoising, group_mask
from hybrid_jax.models.detr.memory import Memory
from hybrid_jax.models.detr.query_selection import QuerySelection, anchor_boxes
from hybrid_jax.specs import ViTSpec

LEVELS = ((8, (3, 4)), (16, (2, 2)))
HW = (24, 32)


def memory_of(mask=None, *, seed=0):
    tokens = np.random.default_rng(seed).normal(size=(2, 16, 8))
    return Memory(
        tokens=jnp.asarray(tokens, jnp.float32),
        positions=None,
        mask=mask,
        levels=LEVELS,
        image_hw=HW,
    )


def test_anchor_boxes_lie_around_the_cells():
    boxes = anchor_boxes(memory_of())
    # The sixth cell: row 1, column 1 of four; the last: row 1, column 1 of two.
    np.testing.assert_allclose(boxes[5], [12 / 32, 12 / 24, 0.05, 0.05], rtol=1e-6)
    np.testing.assert_allclose(boxes[15], [24 / 32, 24 / 24, 0.1, 0.1], rtol=1e-6)


def test_the_best_real_cells_are_chosen():
    spec = ViTSpec(width=8, num_heads=2)

    def build():
        return QuerySelection(spec, 3, has_no_object=False, rngs=nnx.Rngs(params=0))

    selection = nnx.merge(*_randomized(nnx.eval_shape(build)))
    mask = np.ones((2, 16), bool)
    mask[:, [3, 7, 11, 13, 15]] = False  # the last columns
    mask[1, 4:] = False
    memory = memory_of(jnp.asarray(mask))

    @nnx.jit
    def run(selection, tokens):
        given = memory.replace(tokens=tokens)
        x = selection.norm(selection.project(tokens))
        chosen = selection(given, count=5)
        return chosen, x, selection.head(x)[0], jax.nn.sigmoid(chosen[1])

    chosen, x, logits, boxes = jax.tree.map(np.asarray, run(selection, memory.tokens))
    queries, _, proposals = chosen
    scores = logits.max(-1)
    for image in range(2):
        order = sorted(range(16), key=lambda n: (~mask[image, n], -scores[image, n]))
        best = order[: min(5, mask[image].sum())]
        np.testing.assert_allclose(queries[image, : len(best)], x[image, np.array(best)])
        np.testing.assert_allclose(
            proposals.logits[image, : len(best)].max(-1), scores[image, np.array(best)]
        )
    np.testing.assert_allclose(proposals.boxes_cxcywh, boxes)
    all_of_it = nnx.eval_shape(lambda s: s(memory, count=99)[0], selection)
    assert all_of_it.shape == (2, 16, 8)


def _randomized(module):
    graph, state = nnx.split(module)
    return graph, random_like(state)


def noised(mask, *, count=12, seed=0, classes=50):
    """Queries of objects in the middle, a fifth wide, so that nothing is cut."""
    M = mask.shape[1]
    boxes = np.tile([0.5, 0.5, 0.2, 0.1], (len(mask), M, 1)).astype(np.float32)
    boxes[..., :2] += 0.01 * np.arange(M)[:, None]
    labels = np.broadcast_to(np.arange(M), mask.shape)

    @jax.jit
    def run(boxes, labels, mask):
        module = Denoising(4, count=count, num_classes=classes, rngs=nnx.Rngs(params=0))
        result = module(boxes, labels, mask, key=jax.random.key(seed))
        return module.label_embed[...], result, jax.nn.sigmoid(result.references)

    return boxes, *jax.tree.map(np.asarray, run(boxes, labels, mask))


def test_every_image_is_filled_with_its_own_objects():
    mask = np.array([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]], bool)
    _, _, result, _ = noised(mask)
    np.testing.assert_array_equal(result.target[0], [1, 1, 3, 3, 4, 4] * 2)
    np.testing.assert_array_equal(result.group[0], [0] * 6 + [1] * 6)
    np.testing.assert_array_equal(result.target[2], [4] * 12)
    np.testing.assert_array_equal(result.group[2], np.arange(12) // 2)
    np.testing.assert_array_equal(result.mask, [[True] * 12, [False] * 12, [True] * 12])
    np.testing.assert_array_equal(result.is_positive, [[True, False] * 6] * 3)


def test_noise_is_as_strong_as_said():
    """Corners move by up to half a side, those of negatives by half to a whole one."""
    mask = np.ones((1, 2), bool)
    boxes, embedded, result, said = noised(mask, count=4000)
    target = np.asarray(result.target[0])
    box = boxes[0, target]
    said = said[0]
    low, high = said[:, :2] - said[:, 2:] / 2, said[:, :2] + said[:, 2:] / 2
    half = box[:, 2:] / 2
    # In units of half a side from the middle, the object's corners are at -1 and 1.
    low, high = (low - box[:, :2]) / half, (high - box[:, :2]) / half
    positive = np.asarray(result.is_positive[0])
    far = np.maximum(np.abs(low + 1), np.abs(high - 1))
    assert 0.95 < far[positive].max() < 1.001
    # A corner moved inward by more than half passes the other at times; they change places.
    ends = np.abs(np.stack([low, high]))[:, ~positive]
    assert ((ends < 1.001) | (ends > 1.999)).all()
    assert ends.max() > 2.95
    # Half of the half of labels that are drawn anew hit another class nearly always.
    own = embedded[target]
    wrong = np.abs(np.asarray(result.queries[0]) - own).max(-1) > 0
    assert abs(wrong.mean() - 0.25 * 49 / 50) < 0.03


def test_only_what_may_be_seen_is():
    group = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    mask = np.asarray(group_mask(jnp.asarray(group), queries=3))
    assert mask.shape == (2, 1, 7, 7)
    assert mask.dtype == bool
    for image, asks, asked in np.ndindex(2, 7, 7):
        both = asks < 4 and asked < 4 and group[image, asks] == group[image, asked]
        assert mask[image, 0, asks, asked] == (asked >= 4 or both)
