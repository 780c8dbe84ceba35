"""Every fusion under every head has steps for GPUs and TPUs."""

import jax
import pytest
from lowered_steps import TARGETS, check, small_steps

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS


@pytest.fixture(autouse=True)
def _forget_traces():
    """Those of all pairs together take more memory than many machines have."""
    yield
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize("platform", TARGETS)
@pytest.mark.parametrize("head", HEADS.names())
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_pair_lowers(fusion, head, platform):
    check(small_steps(fusion, head, platform), platform)
