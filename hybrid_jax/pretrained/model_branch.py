"""Conversion between the model in a file and the `model` branch of a config."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax import config as configuration
from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Architecture
from hybrid_jax.pretrained.files.published_file import PublishedFile
from hybrid_jax.specs import ResNetSpec, ViTSpec

# Fields of a spec that stay the config's: sizes, regularization and dtype. The other fields
# (structure and numerics) are taken from the file.
_OWN_RESNET = ("blocks", "width", "output_stride", "remat", "dtype")
_OWN_VIT = (
    "width",
    "depth",
    "num_heads",
    "mlp_dim",
    "patch_size",
    "pool",
    "drop_path",
    "dropout",
    "remat",
    "block_loop",
    "dtype",
)


def model_branch(architecture: Architecture, **overrides: Any) -> ConfigDict:
    """Returns the `model` branch of the model in a file.

    Args:
        overrides: keys of the branch, such as `dtype` or `vit_options=dict(...)`; they
            override the file's options.
    """
    model = configuration.defaults().model
    with model.ignore_type():
        model.fusion = architecture.fusion
        model.fusion_options = ConfigDict({architecture.fusion: dict(architecture.options)})
        model.head = architecture.head
        model.head_options = ConfigDict(
            {architecture.head: dict(architecture.head_options)}
        )
        for part in ("resnet", "vit"):
            spec = getattr(architecture, part)
            if spec is not None:
                model[f"{part}_options"].update(_fields(spec, without=("dtype",)))
    configuration.override_model(model, overrides, where="load_pretrained")
    return model


def settings_of(file: PublishedFile, *, parts: tuple[str, ...]) -> dict[str, Any]:
    """Returns the dotted config keys with the structure and numerics of parts of a file.

    Sizes are not among them; if they differ from the file's, `match` reports it.

    Raises:
        UserError: the file has no such part.
    """
    settings = {}
    for part, own in (("resnet", _OWN_RESNET), ("vit", _OWN_VIT)):
        if part not in parts:
            continue
        spec = getattr(file.architecture, part)
        if spec is None:
            raise UserError(
                f"model.pretrained_{part}: expected a file with a {part}, but {file.path} "
                f"({file.dialect}) holds no {part}. Use another file."
            )
        for name, value in _fields(spec, without=own).items():
            settings[f"model.{part}_options.{name}"] = value
    return settings


def check_same_kind(
    model: Mapping[str, Any], file: PublishedFile, *, parts: tuple[str, ...]
) -> None:
    """Checks the fields of a part that change its function but not its shapes.

    Args:
        model: a `model` branch.
        parts: the parts to load from the file.

    Raises:
        UserError: for the first field that differs, such as the norm.
    """
    for part, fields in _KINDS.items():
        spec = getattr(file.architecture, part)
        if part not in parts or spec is None:
            continue
        for field in fields:
            there, here = getattr(spec, field), model[f"{part}_options"][field]
            # Of LayerScale only whether there is one, not its initial value.
            alike = bool(there) == bool(here) if field == "layer_scale" else there == here
            if not alike:
                raise UserError(
                    f"{file.path} ({file.dialect}) holds a {part} with {field}={there!r}, "
                    f"the model has {field}={here!r}. Set model.{part}_options.{field} to "
                    f"{there!r}, or let the file decide "
                    f"(model.pretrained_options.numerics=file)."
                )


_KINDS = {
    "resnet": ("norm", "preactivation", "root", "shortcut"),
    "vit": ("positions", "num_register_tokens", "layer_scale"),
}


def keys_of_settings(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the dotted config keys that `settings_of` sets for these parts."""
    owns = {"resnet": (ResNetSpec, _OWN_RESNET), "vit": (ViTSpec, _OWN_VIT)}
    return tuple(
        f"model.{part}_options.{field.name}"
        for part, (cls, own) in owns.items()
        if part in parts
        for field in dataclasses.fields(cls)
        if field.name not in own
    )


def _fields(spec, *, without: tuple[str, ...]) -> dict[str, Any]:
    return {
        field.name: getattr(spec, field.name)
        for field in dataclasses.fields(spec)
        if field.name not in without
    }
