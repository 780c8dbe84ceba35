"""Every fusion under every head, exported, read again and compared: docs/export.md."""

import jax
import pytest
from exported_pairs import difference, program_of

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS


@pytest.fixture(autouse=True)
def _forget_programs():
    """Those of all pairs together take more memory than many machines have."""
    yield
    program_of.cache_clear()
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS.names())
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_pair_is_the_same_after_a_round_trip(fusion, head):
    sizes, found = difference(fusion, head)
    print(f"{fusion} {head} {sizes} {found:.1e}")
    assert found <= 1e-5
