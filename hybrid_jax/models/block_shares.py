"""Splitting the blocks of one part into groups, one for each exchange with the other."""


def even_shares(count: int, places: int) -> tuple[range, ...]:
    """Splits the indices 0 to `count` - 1 into `places` consecutive ranges.

    The lengths differ by at most one; with fewer blocks than places some are empty.
    """
    borders = [count * place // places for place in range(places + 1)]
    return tuple(map(range, borders[:-1], borders[1:]))
