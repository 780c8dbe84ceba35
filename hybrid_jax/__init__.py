"""hybrid_jax: ResNets and Vision Transformers, combined and trained in JAX.

The names below load on first use, so that `import hybrid_jax` itself costs nothing.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "create_model": "hybrid_jax.models.hybrid",
    "list_models": "hybrid_jax.models.hybrid",
    "list_fusions": "hybrid_jax.models.hybrid",
    "list_heads": "hybrid_jax.models.hybrid",
    "describe": "hybrid_jax.profiling.profile",
    "explain": "hybrid_jax.explaining.explain",
    "load_trained": "hybrid_jax.trained_model",
    "push_to_hub": "hybrid_jax.exporting.hub",
    "from_hub": "hybrid_jax.exporting.hub",
    "predict": "hybrid_jax.predicting.predict",
    "predictor": "hybrid_jax.predicting.predict",
    "load_pretrained": "hybrid_jax.pretrained.load",
    "list_pretrained": "hybrid_jax.pretrained.files.published",
    "Features": "hybrid_jax.contracts",
    "UserError": "hybrid_jax.errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hybrid_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
