"""The rank of a checkpoint by its score."""

import math

import pytest
from etils import epath

from hybrid_jax.train.checkpoints.scores import CheckpointScores


@pytest.mark.parametrize("metric", ["loss", "top1"])
def test_a_score_that_is_nan_is_the_worst(tmp_path, metric):
    scores = CheckpointScores(epath.Path(tmp_path), keep=1, best_metric=metric)
    assert scores.rank({metric: math.nan}) == -math.inf
    assert scores.rank({metric: 0.5}) > scores.rank({metric: math.nan})
