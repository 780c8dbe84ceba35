"""Every fusion under every head takes a step at two sizes, for real.

`test_every_fusion.py` traces the same pairs in every run of the suite; computing them takes
half an hour of compilation on two cores.
"""

import pytest
from real_steps import (
    DEAD,
    check_every_parameter_is_reached,
    gradient_sizes,
    unread_parameters,
)
from small_fusion import BUILT_FOR

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS


@pytest.mark.slow
@pytest.mark.parametrize("hw", [BUILT_FOR, (97, 131)], ids=lambda hw: f"{hw[0]}x{hw[1]}")
@pytest.mark.parametrize("head", HEADS.names())
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_pair_trains_a_step(fusion, head, hw):
    sizes = gradient_sizes(fusion, head, hw=hw)[1]
    unread = unread_parameters(fusion, head, hw=hw)
    check_every_parameter_is_reached(sizes, dead=DEAD.get(head, ()), unread=unread)
