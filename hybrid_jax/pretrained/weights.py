"""The weights of a config: one file for the whole model, or one for each half."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints, Preprocessing
from hybrid_jax.pretrained.files.published_file import PublishedFile, open_published
from hybrid_jax.pretrained.fill import Fill, Shapes, match
from hybrid_jax.pretrained.load_report import Report, joined
from hybrid_jax.pretrained.model_branch import (
    check_same_kind,
    keys_of_settings,
    settings_of,
)
from hybrid_jax.pretrained.whole_model import check_whole_model
from hybrid_jax.specs import VIT_SIZES

WHOLE = ("resnet", "vit", "head")
KEYS = {"pretrained": WHOLE, "pretrained_resnet": ("resnet",), "pretrained_vit": ("vit",)}


@dataclasses.dataclass(frozen=True)
class Weights:
    """Opened files; their arrays are not read yet.

    Attributes:
        files: each file with the parts to load from it.
    """

    files: tuple[tuple[PublishedFile, tuple[str, ...]], ...]

    def settings(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the dotted config keys that the files decide, and their values.

        These are numerics and image preprocessing, unless `model.pretrained_options` says
        "config".

        Args:
            model: the `model` branch.

        Raises:
            UserError: two files with different normalizations.
        """
        options = model["pretrained_options"]
        settings: dict[str, Any] = {}
        for file, parts in self.files:
            if options["numerics"] == "file":
                there = [p for p in parts if getattr(file.architecture, p, None)]
                wanted = parts if parts != WHOLE else there
                settings |= settings_of(file, parts=tuple(wanted))
        if options["preprocessing"] == "file":
            images = self._preprocessing()
            settings["model.normalization"] = images.normalization
            settings["data.interpolation"] = images.interpolation
            settings["data.eval_crop"] = images.eval_crop
        return settings

    def match(self, model: Mapping[str, Any], targets: Shapes) -> tuple[list[Fill], Report]:
        """Matches the arrays of all files with the model's; returns fills and the report.

        Args:
            model: the `model` branch, with `settings`.
            targets: path -> shape of the model's arrays.

        Raises:
            UserError: arrays that do not fit, or missing arrays of a whole model.
        """
        options = model["pretrained_options"]
        fills = []
        for file, parts in self.files:
            check_same_kind(model, file, parts=parts)
            fill = match(
                file.stored,
                file.entries,
                targets,
                resize=model["vit_options"]["position_resize"],
                parts=parts,
                head=options["head"],
            )
            if parts == WHOLE and options["strict"]:
                check_whole_model(fill.report, source=f"model.pretrained = {file.path}")
            if parts != WHOLE and not fill.taken:
                raise UserError(
                    f"model.pretrained_{parts[0]} = {file.path}: no array of its "
                    f"{parts[0]} fits the model's. Compare the sizes with --mode=profile."
                )
            fills.append(fill)
        report = joined(fill.report for fill in fills)
        report = report.noting(*[f"dialect  {file.dialect}" for file, _ in self.files])
        images = self._preprocessing() if options["preprocessing"] == "file" else None
        return fills, report.preparing(images)

    def _preprocessing(self) -> Preprocessing:
        known = [file.preprocessing() for file, _ in self.files]
        kinds = {images.normalization for images in known}
        if len(kinds) > 1:
            raise UserError(
                f"model.pretrained_resnet and model.pretrained_vit: expected one "
                f"normalization of images, got {' and '.join(sorted(kinds))}. Choose one "
                f"with --config.model.pretrained_options.preprocessing=config and "
                f"--config.model.normalization=..."
            )
        return known[-1]


def open_weights(
    model: Mapping[str, Any], *, image_size: int | Sequence[int] | None = None
) -> Weights | None:
    """Opens the files of a `model` branch; returns None if there are none.

    Args:
        image_size: side or (height, width) in px of the images of a run, if it is known.

    Raises:
        UserError: files for the whole model and for a half, or a file cannot be opened.
    """
    named = {key: model[key] for key in KEYS if model[key]}
    if not named:
        return None
    if "pretrained" in named and len(named) > 1:
        raise UserError(
            "config.model.pretrained is for the whole model: leave pretrained_resnet and "
            "pretrained_vit empty, or leave pretrained empty."
        )
    size = VIT_SIZES.get(model["vit"], {})
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    hints = Hints(
        grid=tuple(model["pretrained_options"]["grid"]) or None,
        image_hw=None if image_size is None else (image_size[0], image_size[1]),
        num_heads=model["vit_options"]["num_heads"] or size.get("num_heads"),
        prefix=model["pretrained_options"]["prefix"],
    )
    return Weights(
        tuple((open_published(name, hints=hints), KEYS[key]) for key, name in named.items())
    )


def keys_from_files(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the dotted config keys that `Weights.settings` sets for a `model` branch."""
    named = [parts for key, parts in KEYS.items() if model[key]]
    options = model["pretrained_options"]
    keys: list[str] = []
    if options["numerics"] == "file":
        keys += [key for parts in named for key in keys_of_settings(parts)]
    if named and options["preprocessing"] == "file":
        keys += ["model.normalization", "data.interpolation", "data.eval_crop"]
    return tuple(keys)
