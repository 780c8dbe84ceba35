"""The resolved config of a run, with what differs from the defaults marked."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.config import to_json
from hybrid_jax.config.keys import tree
from hybrid_jax.train.checkpoints.workdir import flat
from hybrid_jax.train.report_page.markup import Html, element, joined, table


def config_table(config: Mapping[str, Any]) -> Html:
    """Returns the keys that differ from their defaults, and all keys behind a click.

    Args:
        config: dotted key -> value, plain.
    """
    if not config:
        return Html("")
    usual = _defaults()
    differing = {k: v for k, v in sorted(config.items()) if k not in usual or usual[k] != v}
    rows = [
        [key, _value(v), _value(usual[key]) if key in usual else "–"]
        for key, v in differing.items()
    ]
    every = [
        [
            element(
                "th",
                f"{'● ' if key in differing else ''}{key}",
                scope="row",
                class_="differs" if key in differing else None,
            ),
            _value(value),
        ]
        for key, value in sorted(config.items())
    ]
    count = f"{len(differing)} of {len(config)} keys are not the default:"
    return joined(
        element("p", count),
        table(["key", "value", "default"], rows, kind="config", label="Changed keys"),
        element(
            "details",
            element("summary", f"All {len(config)} keys; ● differs from the default"),
            table(["key", "value"], every, kind="config", label="All keys"),
        ),
    )


def config_differences(configs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Html:
    """Returns the keys in which runs differ, side by side; nothing if there are none."""
    keys = sorted(set().union(*configs))
    rows = [
        [key, *(_value(each.get(key)) for each in configs)]
        for key in keys
        if any(each.get(key) != configs[0].get(key) for each in configs)
    ]
    if not rows:
        return Html("")
    return table(["key", *names], rows, kind="config", label="Keys that differ")


@functools.cache
def _defaults() -> dict[str, Any]:
    return flat(json.loads(to_json(tree())))


def _value(value: Any) -> Html:
    return element("code", json.dumps(value, ensure_ascii=False))
