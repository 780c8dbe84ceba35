"""The page of the Python API: the names that `hybrid_jax` gives, wherever they are defined.

`site_pages.py` puts it into `api.md`.
"""

import hybrid_jax
from hybrid_jax import config, specs
from hybrid_jax.config import recipes

SECTIONS = {
    "Models": (
        *("create_model", "load_trained", "load_pretrained", "describe"),
        *("explain", "list_models", "list_fusions", "list_heads", "list_pretrained"),
    ),
    "Predictions": ("predict", "predictor"),
    "Exported models": ("push_to_hub", "from_hub"),
    "Types": ("Features", "UserError"),
}
# For config files; these names are imported from the modules they live in.
IN_CONFIG_FILES = (config.defaults, recipes.select, recipes.finetune)
PARTS = (specs.ResNetSpec, specs.ViTSpec)


def sections() -> str:
    """Returns Markdown for mkdocstrings, which puts signatures and docstrings in."""
    lines = []
    for title, names in SECTIONS.items():
        lines.append(f"## {title}\n")
        for name in names:
            lines.append(_entry(getattr(hybrid_jax, name), shown=f"hybrid_jax.{name}"))
    lines.append("## In config files\n")
    lines += [_entry(target, shown=_path(target)) for target in IN_CONFIG_FILES]
    lines.append("## Parts\n")
    lines.append(
        "`model.resnet_options` and `model.vit_options` set the fields of these.\n"
    )
    lines += [_entry(target, shown=_path(target)) for target in PARTS]
    return "\n".join(lines)


def _path(target: object) -> str:
    return f"{target.__module__}.{target.__qualname__}"


def _entry(target: object, *, shown: str) -> str:
    return (
        f"::: {_path(target)}\n"
        f"    options:\n"
        f'      heading: "{shown}"\n'
        f'      toc_label: "{shown.rpartition(".")[2]}"\n'
    )
