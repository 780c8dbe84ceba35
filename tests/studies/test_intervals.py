"""Intervals against scipy, tables of Student's t, and studies of known truth."""

import numpy as np
import pytest
import scipy.stats

from hybrid_jax.studies.results.intervals import paired_interval


def test_three_pairs_by_hand():
    # Differences 1, 2, 3: mean 2, deviation 1; t of 2 degrees at 97.5 % is 4.3027.
    found = paired_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found.mean == pytest.approx(2.0)
    assert found.high - found.mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert not found.excludes_zero


@pytest.mark.parametrize("count", [2, 3, 5, 20])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_agrees_with_scipy(count, confidence):
    draws = np.random.default_rng(count)
    a, b = draws.normal(size=(2, count))
    found = paired_interval(list(a), list(b), confidence=confidence)
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def share_found(effect, *, studies=400, seeds=5):
    """Returns in how many studies an effect is seen beside seeds that matter more."""
    draws = np.random.default_rng(0)
    count = 0
    for _ in range(studies):
        of_seed = draws.normal(scale=0.05, size=seeds)
        baseline = of_seed + draws.normal(scale=0.004, size=seeds)
        variant = of_seed + draws.normal(scale=0.004, size=seeds) + effect
        found = paired_interval(list(variant), list(baseline))
        count += found.excludes_zero
        assert not found.excludes_zero or effect == 0 or found.mean > 0
    return count / studies


def test_two_points_are_found_and_none_are_not_invented():
    assert share_found(0.02) > 0.95
    # 5 % by construction; three standard errors of 400 studies are 3.3 %.
    assert share_found(0.0) == pytest.approx(0.05, abs=0.033)


def test_without_spread_there_is_no_interval():
    assert paired_interval([0.5], [0.4]).low is None
    same = paired_interval([0.3, 0.5], [0.2, 0.4])
    assert same.low is None
    assert not same.excludes_zero
    assert same.mean == pytest.approx(0.1)


@pytest.mark.parametrize("pair", [([], []), ([1.0], [])])
def test_pairs_must_be_pairs(pair):
    with pytest.raises(ValueError, match="pairs|zip"):
        paired_interval(*pair)
