"""Expected calibration error against a brute-force reading of its definition."""

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_jax.tasks.classification import calibration
from hybrid_jax.tasks.classification.calibration import NUM_BINS, calibration_error

# One program, not one for each operation.
calibration_sums = jax.jit(calibration.calibration_sums)


def example(rows=400):
    rng = np.random.default_rng(0)
    confidence = rng.random(rows).astype(np.float32)
    # Too sure in some bins and not sure enough in others: gaps of one sign add up the same
    # in any bins.
    correct = rng.random(rows) < 0.25 + confidence / 2
    return confidence, correct, rng.random(rows) < 0.8


def brute_force(confidence, correct, mask):
    error, real = 0.0, mask.sum()
    for low in range(NUM_BINS):
        inside = mask & (confidence >= low / NUM_BINS)
        if low < NUM_BINS - 1:
            inside &= confidence < (low + 1) / NUM_BINS
        if inside.any():
            gap = abs(confidence[inside].mean() - correct[inside].mean())
            error += inside.sum() / real * gap
    return error


def test_calibration_error_equals_brute_force():
    confidence, correct, mask = example()
    sums = calibration_sums(*map(jnp.asarray, (confidence, correct, mask)))
    np.testing.assert_allclose(
        calibration_error(sums), brute_force(confidence, correct, mask), rtol=1e-5
    )


def test_sums_over_batches_equal_the_whole():
    arrays = example()
    whole = calibration_sums(*map(jnp.asarray, arrays))
    parts = [
        calibration_sums(*(jnp.asarray(a[rows]) for a in arrays))
        for rows in (slice(0, 150), slice(150, 400))
    ]
    total = np.asarray(parts[0]) + np.asarray(parts[1])
    np.testing.assert_allclose(total, whole, rtol=1e-6)


def test_padded_rows_count_nothing():
    confidence, correct, _ = example(50)
    sums = calibration_sums(
        jnp.asarray(confidence), jnp.asarray(correct), np.zeros(50, bool)
    )
    np.testing.assert_array_equal(sums, np.zeros((3, NUM_BINS)))
    assert calibration_error(sums) == 0.0


def test_nan_in_a_padded_row_reaches_no_sum():
    confidence, correct, mask = example(50)
    expected = calibration_sums(*map(jnp.asarray, (confidence, correct, mask)))
    confidence[~mask] = np.nan
    sums = calibration_sums(*map(jnp.asarray, (confidence, correct, mask)))
    np.testing.assert_array_equal(sums, expected)


def test_perfect_and_certain_is_calibrated_and_wrong_and_certain_is_not():
    ones, yes = np.ones(7, np.float32), np.ones(7, bool)
    assert calibration_error(calibration_sums(ones, yes, yes)) == 0.0
    assert calibration_error(calibration_sums(ones, ~yes, yes)) == 1.0
