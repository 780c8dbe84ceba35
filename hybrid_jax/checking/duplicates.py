"""Images that are in two splits: what is scored was trained on."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.checking.example_facts import ExampleFacts

_EXAMPLES = 5


def duplicates(facts: Mapping[str, Sequence[ExampleFacts]]) -> list[dict[str, Any]]:
    """Returns, for each two splits that share images, how many of the second, and some.

    Images are the same if their decoded pixels are, whatever their files are called.

    Args:
        facts: split -> of its examples.
    """
    by_hash = {
        split: {one.fingerprint: one.name for one in of_split if one.fingerprint}
        for split, of_split in facts.items()
    }
    found = []
    for first, second in itertools.combinations(facts, 2):
        names = by_hash[first]
        both = [one for one in facts[second] if one.fingerprint in names]
        if both:
            examples = [[names[one.fingerprint], one.name] for one in both[:_EXAMPLES]]
            found.append(dict(splits=[first, second], count=len(both), examples=examples))
    return found
