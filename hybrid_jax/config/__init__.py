"""The configuration tree: `defaults()` makes it, `resolve()` fills what was left open."""

from hybrid_jax.config.tree import check, defaults, override_model, resolve, to_json

__all__ = ["to_json", "check", "defaults", "override_model", "resolve"]
