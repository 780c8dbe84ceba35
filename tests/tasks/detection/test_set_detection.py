"""The set loss: against loops in float64, and what must not change it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from hybrid_jax.config import defaults
from hybrid_jax.outputs import BoxSet, DenoisingOutputs, SetDetectionOutputs
from hybrid_jax.tasks.detection.set_detection import set_candidates, set_loss

OPTIONS = defaults().task.detection.to_dict() | dict(class_weight=1.5)
HW = (40, 80)
K = 3


def random_set(rng, *, B, Q, columns):
    boxes = np.concatenate(
        [rng.uniform(0.2, 0.8, (B, Q, 2)), rng.uniform(0.1, 0.4, (B, Q, 2))], -1
    )
    logits = rng.normal(size=(B, Q, columns))
    return BoxSet(jnp.asarray(logits, jnp.float32), jnp.asarray(boxes, jnp.float32))


def random_outputs(*, B=3, Q=6, layers=2, softmax=False, proposals=True, seed=0):
    rng = np.random.default_rng(seed)
    size = dict(B=B, Q=Q, columns=K + softmax)
    return SetDetectionOutputs(
        layers=tuple(random_set(rng, **size) for _ in range(layers)),
        proposals=random_set(rng, **size) if proposals else None,
        image_hw=HW,
        has_no_object=softmax,
    )


def random_batch(counts, *, M=4, seed=1):
    """Objects at random rows: their mask need not begin with the real ones."""
    rng = np.random.default_rng(seed)
    B = len(counts)
    low = rng.uniform(0, 0.5, (B, M, 2))
    corners = np.concatenate([low, low + rng.uniform(0.1, 0.4, (B, M, 2))], -1)
    mask = np.stack([rng.permutation(np.arange(M) < n) for n in counts])
    return dict(
        boxes_xyxy_px=jnp.asarray(corners * [80, 40, 80, 40], jnp.float32),
        box_labels=jnp.asarray(rng.integers(0, K, (B, M)), jnp.int32),
        box_mask=jnp.asarray(mask),
        mask=jnp.ones(B, bool),
    )


def overlap(a, b):
    """IoU and GIoU of two boxes cx, cy, w, h."""
    a0, a1 = a[:2] - a[2:] / 2, a[:2] + a[2:] / 2
    b0, b1 = b[:2] - b[2:] / 2, b[:2] + b[2:] / 2
    both = np.prod(np.maximum(np.minimum(a1, b1) - np.maximum(a0, b0), 0.0))
    union = np.prod(a[2:]) + np.prod(b[2:]) - both
    hull = np.prod(np.maximum(a1, b1) - np.minimum(a0, b0))
    return both / union, both / union - (hull - union) / hull


def costs_and_losses(logits, box, wanted, label, softmax):
    """One query answering for one object: its cost, and its class, L1 and GIoU losses."""
    iou, giou = overlap(box, wanted)
    l1 = np.abs(box - wanted).sum()
    if softmax:
        p = np.exp(logits) / np.exp(logits).sum()
        cost, kind = -p[label], -np.log(p[label])
    else:
        p = 1 / (1 + np.exp(-logits))
        own = p[label]
        cost = -0.25 * (1 - own) ** 2 * np.log(own) + 0.75 * own**2 * np.log(1 - own)
        kind = iou * -(iou * np.log(own) + (1 - iou) * np.log(1 - own))
        kind += sum(-0.75 * p[k] ** 2 * np.log(1 - p[k]) for k in range(K) if k != label)
    return 1.5 * cost + 5.0 * l1 - 2.0 * giou, np.array([kind, l1, 1 - giou])


def nothing(logits, softmax):
    """The class loss of a query without an object."""
    if softmax:
        return -0.1 * np.log(np.exp(logits[-1]) / np.exp(logits).sum())
    p = 1 / (1 + np.exp(-logits))
    return -(0.75 * p**2 * np.log(1 - p)).sum()


def expected_terms(boxes, batch, softmax):
    """Class, L1 and GIoU sums of one set, weighted, by loops."""
    total = np.zeros(3)
    logits, said = (np.asarray(a, np.float64) for a in (boxes.logits, boxes.boxes_cxcywh))
    corners = np.asarray(batch["boxes_xyxy_px"], np.float64) / [80, 40, 80, 40]
    for b in np.flatnonzero(batch["mask"]):
        real = np.flatnonzero(batch["box_mask"][b])
        wanted = corners[b, real]
        wanted = np.concatenate(
            [(wanted[:, :2] + wanted[:, 2:]) / 2, wanted[:, 2:] - wanted[:, :2]], -1
        )
        labels = np.asarray(batch["box_labels"])[b, real]
        pairs = [
            [
                costs_and_losses(logits[b, q], said[b, q], wanted[m], labels[m], softmax)
                for m in range(len(real))
            ]
            for q in range(logits.shape[1])
        ]
        costs = np.array([[cost for cost, _ in row] for row in pairs])
        rows, columns = optimize.linear_sum_assignment(costs.reshape(logits.shape[1], -1))
        for q, m in zip(rows, columns, strict=True):
            total += pairs[q][m][1]
        for q in set(range(logits.shape[1])) - set(rows):
            total[0] += nothing(logits[b, q], softmax)
    return total * [1.5, 5.0, 2.0]


def read(outputs, batch):
    found = set_loss(outputs, batch, OPTIONS)
    return found.total, found


_loss = jax.jit(lambda outputs, batch: set_loss(outputs, batch, OPTIONS))
_slope = jax.jit(jax.grad(read, has_aux=True))


def loss(outputs, batch):
    return jax.device_get(_loss(outputs, batch))


# No object, one, and four: more than there are queries, or not.
@pytest.mark.parametrize(
    ("Q", "softmax"), [(6, False), (3, True)], ids=["sigmoid", "softmax, crowded"]
)
def test_loss_equals_the_float64_one(Q, softmax):
    outputs = random_outputs(Q=Q, softmax=softmax)
    batch = random_batch((0, 1, 4))
    _, ours = jax.device_get(_slope(outputs, batch))
    first, last = (expected_terms(s, batch, softmax) for s in outputs.layers)
    proposals = expected_terms(outputs.proposals, batch, softmax)
    parts = dict(zip(("class", "l1", "giou"), last, strict=True))
    parts |= dict(auxiliary=first.sum(), proposals=proposals.sum())
    assert set(ours.parts) == set(parts)
    for name, value in parts.items():
        np.testing.assert_allclose(ours.parts[name], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(ours.total, sum(parts.values()), rtol=1e-4)
    assert ours.count == 5


def test_order_of_objects_does_not_matter():
    outputs, batch = random_outputs(), random_batch((4, 3, 2))
    order = np.random.default_rng(5).permutation(4)
    permuted = batch | {
        name: batch[name][:, order] for name in ("boxes_xyxy_px", "box_labels", "box_mask")
    }
    np.testing.assert_allclose(
        _slope(outputs, batch)[1].total, _slope(outputs, permuted)[1].total, rtol=1e-5
    )


def test_padding_counts_nowhere_whatever_it_holds():
    outputs, batch = random_outputs(), random_batch((4, 3, 2))
    padded = batch | dict(mask=jnp.array([True, True, False]))
    poisoned = jax.tree.map(np.array, outputs)
    for array in jax.tree.leaves(poisoned):
        array[2] = np.nan
    slope, ours = jax.device_get(_slope(poisoned, padded))
    expected = sum(
        expected_terms(s, padded, False).sum() for s in (*outputs.layers, outputs.proposals)
    )
    np.testing.assert_allclose(ours.total, expected, rtol=1e-4)
    assert ours.count == 7
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))
    assert all((x[2] == 0).all() for x in jax.tree.leaves(slope))


def test_noised_queries_weigh_as_much_as_the_objects():
    """By hand: image 0 has two objects and is answered for twice, image 1 has none."""
    outputs, batch = random_outputs(B=2, layers=1, proposals=False), random_batch((2, 0))
    real = np.flatnonzero(batch["box_mask"][0])
    noised = random_set(np.random.default_rng(7), B=2, Q=6, columns=K)
    target = np.zeros((2, 6), np.int32)
    target[0] = np.repeat(real, 3)
    positive = np.tile([True, False, True], 2)[None].repeat(2, 0)
    outputs = outputs.replace(
        denoising=DenoisingOutputs(
            layers=(noised,),
            target=jnp.asarray(target),
            is_positive=jnp.asarray(positive),
            mask=jnp.array([[True] * 6, [False] * 6]),
        )
    )
    expected = np.zeros(3)
    for q in range(6):
        single = jax.tree.map(lambda x, q=q: np.asarray(x)[:1, q : q + 1], noised)
        asked = np.arange(4) == target[0, q] if positive[0, q] else np.zeros(4, bool)
        one = {name: value[:1] for name, value in batch.items()}
        expected += expected_terms(single, one | dict(box_mask=asked[None]), False)
    ours = loss(outputs, batch)
    # Two objects, four positives.
    np.testing.assert_allclose(ours.parts["denoising"], 0.5 * expected.sum(), rtol=1e-4)


@pytest.mark.parametrize("softmax", [False, True], ids=["sigmoid", "softmax"])
def test_candidates_are_in_px_without_the_column_for_nothing(softmax):
    outputs = random_outputs(softmax=softmax)
    boxes, scores = jax.jit(set_candidates)(outputs)
    last = outputs.layers[-1]
    x, y, w, h = np.moveaxis(np.asarray(last.boxes_cxcywh), -1, 0)
    corners = [80 * (x - w / 2), 40 * (y - h / 2), 80 * (x + w / 2), 40 * (y + h / 2)]
    np.testing.assert_allclose(boxes, np.stack(corners, -1), rtol=1e-5, atol=1e-5)
    assert scores.shape == (3, 6, K)
    powers = np.exp(np.asarray(last.logits))
    expected = powers / (powers.sum(-1, keepdims=True) if softmax else 1 + powers)
    np.testing.assert_allclose(scores, expected[..., :K], rtol=1e-5)
