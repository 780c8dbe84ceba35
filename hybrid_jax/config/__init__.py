"""The configuration tree: `defaults()` makes it, `resolve()` fills what was left open."""

from hybrid_jax.config.tree import (
    changed,
    check,
    defaults,
    from_dict,
    override_model,
    resolve,
    to_json,
)

__all__ = [
    "to_json",
    "changed",
    "check",
    "defaults",
    "from_dict",
    "override_model",
    "resolve",
]
