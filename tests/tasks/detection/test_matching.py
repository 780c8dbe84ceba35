"""The matching against scipy's, and its costs against loops in float64."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from hybrid_jax.tasks.detection.matching import match_objects, set_costs

WEIGHTS = dict(class_weight=1.5, l1_weight=5.0, giou_weight=2.0)
FOCAL = dict(focal_alpha=0.25, focal_gamma=2.0)
match = jax.jit(match_objects)


def least(costs, mask):
    """The least total cost and the number of pairs, by scipy."""
    real = costs[:, mask]
    rows, columns = optimize.linear_sum_assignment(real)
    return real[rows, columns].sum(), len(rows)


def check(costs, mask):
    query, matched = map(np.asarray, match(jnp.asarray(costs), jnp.asarray(mask)))
    for image in np.ndindex(mask.shape[:-1]):
        on = matched[image]
        assert not (on & ~mask[image]).any()
        assert len(set(query[image][on])) == on.sum(), "a query serves two objects"
        best, pairs = least(costs[image].astype(np.float64), mask[image])
        assert on.sum() == pairs
        ours = costs[image].astype(np.float64)[query[image][on], np.flatnonzero(on)].sum()
        np.testing.assert_allclose(ours, best, atol=1e-4)


@pytest.mark.parametrize(("Q", "M"), [(9, 4), (4, 9), (5, 5)])
def test_cost_is_that_of_scipy(Q, M):
    rng = np.random.default_rng(Q)
    costs = rng.normal(scale=3.0, size=(2, 6, Q, M)).astype(np.float32)
    costs[1] = np.round(costs[1] / 3.0)  # ties
    mask = rng.random((2, 6, M)) < 0.6
    # No object, all, and one.
    mask[:, 0], mask[:, 1], mask[:, 2] = False, True, np.arange(M) == M - 1
    check(costs, mask)


def test_objects_permuted_keep_their_queries():
    rng = np.random.default_rng(0)
    costs, mask = (
        rng.normal(size=(7, 5)).astype(np.float32),
        np.array([1, 1, 0, 1, 1], bool),
    )
    order = rng.permutation(5)
    query, matched = match(jnp.asarray(costs), jnp.asarray(mask))
    again, matched_again = match(jnp.asarray(costs[:, order]), jnp.asarray(mask[order]))
    np.testing.assert_array_equal(matched_again, matched[order])
    np.testing.assert_array_equal(
        np.where(matched_again, again, -1), np.where(matched, query, -1)[order]
    )


def test_small_differences_between_costs_are_not_lost():
    # Ties but for a hundred-thousandth, as those of a net that has learned nothing yet.
    rng = np.random.default_rng(3)
    costs = (3.0 + 1e-5 * rng.integers(0, 9, (6, 8))).astype(np.float32)
    mask = np.arange(8) < 4
    query, matched = map(np.asarray, match(jnp.asarray(costs), jnp.asarray(mask)))
    ours = costs.astype(np.float64)[query[matched], np.flatnonzero(matched)].sum()
    brute = min(
        costs.astype(np.float64)[list(rows), range(4)].sum()
        for rows in itertools.permutations(range(6), 4)
    )
    assert matched.sum() == 4
    np.testing.assert_allclose(ours, brute, atol=4e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_costs_that_are_not_finite_are_chosen_last(bad):
    # Dear ones, next to which a zero or the least number would look cheap.
    costs = 10.0 + np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    costs[0] = bad
    costs[:, 2] = bad  # an object nobody can have is still given a query
    query, matched = map(np.asarray, match(jnp.asarray(costs), jnp.ones(3, bool)))
    assert matched.all()
    best, _ = least(costs[1:].astype(np.float64), np.array([True, True, False]))
    np.testing.assert_allclose(costs[query[:2], [0, 1]].sum(), best, atol=1e-5)


def test_no_room_for_objects_or_queries():
    for Q, M in ((3, 0), (0, 3)):
        query, matched = match_objects(jnp.zeros((2, Q, M)), jnp.ones((2, M), bool))
        assert query.shape == matched.shape == (2, M)
        assert not np.any(matched)


def cost_by_hand(logits, box, label, wanted, *, has_no_object):
    """One query and one object, in float64."""
    if has_no_object:
        p = np.exp(logits - logits.max())
        kind = -(p / p.sum())[label]
    else:
        p = 1.0 / (1.0 + np.exp(-logits[label]))
        kind = 0.25 * (1 - p) ** 2 * -np.log(p) - 0.75 * p**2 * -np.log(1 - p)
    x0, y0, x1, y1 = corners(box)
    X0, Y0, X1, Y1 = corners(wanted)
    both = max(0, min(x1, X1) - max(x0, X0)) * max(0, min(y1, Y1) - max(y0, Y0))
    union = (x1 - x0) * (y1 - y0) + (X1 - X0) * (Y1 - Y0) - both
    hull = (max(x1, X1) - min(x0, X0)) * (max(y1, Y1) - min(y0, Y0))
    giou = both / union - (hull - union) / hull
    return 1.5 * kind + 5.0 * np.abs(box - wanted).sum() - 2.0 * giou


def corners(box):
    x, y, w, h = box
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


@pytest.mark.parametrize("has_no_object", [True, False], ids=["softmax", "sigmoid"])
def test_costs_equal_those_by_hand(has_no_object):
    rng = np.random.default_rng(1)
    logits = rng.normal(scale=3.0, size=(2, 5, 4))
    boxes, objects = rng.uniform(0.1, 0.6, (2, 5, 4)), rng.uniform(0.1, 0.6, (2, 3, 4))
    labels = rng.integers(0, 3, (2, 3))
    options = dict(has_no_object=has_no_object, **WEIGHTS, **FOCAL)
    costs = jax.jit(functools.partial(set_costs, **options))
    arrays = (np.float32(logits), np.float32(boxes))
    wanted = dict(labels=labels, objects_cxcywh=np.float32(objects))
    ours = np.asarray(costs(*arrays, **wanted))
    for b, q, m in np.ndindex(2, 5, 3):
        expected = cost_by_hand(
            logits[b, q],
            boxes[b, q],
            labels[b, m],
            objects[b, m],
            has_no_object=has_no_object,
        )
        np.testing.assert_allclose(ours[b, q, m], expected, rtol=1e-4, atol=1e-5)
