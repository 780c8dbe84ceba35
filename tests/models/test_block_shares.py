"""Shares of blocks: all of them, in order, even."""

import pytest

from hybrid_jax.models.block_shares import even_shares


@pytest.mark.parametrize("count", [1, 2, 4, 7, 12, 24])
@pytest.mark.parametrize("places", [1, 2, 3, 4, 12])
def test_shares_are_all_blocks_in_order_and_even(count, places):
    shares = even_shares(count, places)
    assert len(shares) == places
    assert [index for share in shares for index in share] == list(range(count))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_the_odd_block_is_in_a_later_share():
    assert even_shares(7, 3) == (range(0, 2), range(2, 4), range(4, 7))
    assert even_shares(2, 4) == (range(0), range(0, 1), range(1, 1), range(1, 2))
