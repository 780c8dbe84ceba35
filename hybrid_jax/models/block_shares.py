"""Sharing the blocks of one part among the places where it meets another."""


def even_shares(count: int, places: int) -> tuple[range, ...]:
    """Parts the indices of `count` blocks among `places`, in order and evenly.

    No two shares differ by more than one block; with fewer blocks than places some are
    empty.
    """
    borders = [count * place // places for place in range(places + 1)]
    return tuple(map(range, borders[:-1], borders[1:]))
