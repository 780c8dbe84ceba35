"""`--mode=explain`: what a trained model looks at, in pictures or as scores."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict
from PIL import Image

from hybrid_jax.data.input_images import InputImages
from hybrid_jax.data.reading import reading_as
from hybrid_jax.errors import BadImageError, UserError
from hybrid_jax.explaining.drawing.explained_image import ExplainedImage
from hybrid_jax.explaining.drawing.pictures import all_heads, all_maps, overview, positions
from hybrid_jax.explaining.explained_run import ExplainedRun
from hybrid_jax.explaining.explanation import Explanation
from hybrid_jax.explaining.localization.split_scores import localization_scores
from hybrid_jax.train.checkpoints.recorded_source import recorded_source
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.checkpoints.scored_run import scored_run

_SPOKEN = 20  # more images are not told one by one on the terminal


def explain_run(
    config: ConfigDict,
    workdir: str,
    *,
    inputs: Sequence[str] = (),
    output: str | None = None,
) -> dict[str, Any]:
    """Explains images with a run, or scores how well its views find objects.

    With `inputs`, in the output directory there will be, for image number i:
    `<i>_<name>.png`, image, ResNet's view, transformer's view and fused view;
    `<i>_<name>_maps.png`, Grad-CAM at every map and the energy of every level; and
    `<i>_<name>_heads.png`, every head. `positions.png` and `explanation.json` are for all.

    Without, the views are scored against the boxes of `config.eval.split` and the workdir
    gets `localization_<split>.json`.

    Args:
        config: the one the workdir was trained with; `eval.restore` chooses "best" or
            "last".
        workdir: of the training run.
        inputs: files, folders and patterns, see `InputImages`.
        output: directory; `<workdir>/explanations` if None.

    Returns:
        What is in the JSON file.

    Raises:
        UserError: no checkpoint, another model's, other classes, several splits, no boxes,
            or images that cannot be read.
    """
    path = epath.Path(workdir).expanduser().absolute()
    with reading_as(config.data):
        if not inputs:
            return _scored(config, path)
        folder = pathlib.Path(output or pathlib.Path(path) / "explanations").expanduser()
        return _drawn(config, path, inputs=inputs, folder=folder)


def _scored(config: ConfigDict, path: epath.Path) -> dict[str, Any]:
    if "," in config.eval.split:
        raise UserError(
            f"config.eval.split: expected one split for --mode=explain, got "
            f"{config.eval.split!r}."
        )
    experiment, state, sources = scored_run(config, path)
    [(split, source)] = sources.items()
    run = ExplainedRun.of(experiment, state)
    scores = localization_scores(run, source, progress=config.log.progress)
    found: dict[str, Any] = dict(step=run.step, data=config.data.name, split=split)
    found |= scores
    (path / f"localization_{split}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(f"step {run.step}  {split}: {found['examples']} images with boxes")
    print(f"  {'':36} {'pointing game':>14} {'energy in boxes':>16}")
    for view, row in found["views"].items():
        name = f"{view} ({row['of']})"
        print(f"  {name:36} {row['pointing_game']:14.4f} {row['energy_in_boxes']:16.4f}")
    print(f"  {'a uniform map':36} {found['uniform']:14.4f} {found['uniform']:16.4f}")
    return found


def _drawn(
    config: ConfigDict, path: epath.Path, *, inputs: Sequence[str], folder: pathlib.Path
) -> dict[str, Any]:
    images = InputImages(inputs, leave_out=folder)
    source = recorded_source(config, path, largest_hw=images.info.largest_hw)
    run = ExplainedRun.of(*restored_run(config, path, source=source))
    folder.mkdir(parents=True, exist_ok=True)
    rows, found = [], None
    for index in range(len(images)):
        try:
            example = images[index]
        except BadImageError as error:
            rows.append(dict(image=str(images.paths[index]), error=str(error.__cause__)))
            continue
        sample = run.sample(example)
        found = run.explain([sample])
        image = ExplainedImage(example["image"], sample)
        stem = f"{index:04}_{images.paths[index].stem}"
        label = _label(run, found)
        row = dict(image=str(images.paths[index]), explained=label)
        row |= _pictures(folder, stem, image, found, label=label) | _numbers(found)
        rows.append(row)
        if len(images) <= _SPOKEN:
            print(f"{images.paths[index]}: {label}")
    missing = () if found is None else found.missing
    if found is not None and (tiles := positions(found)) is not None:
        Image.fromarray(tiles).save(folder / "positions.png")
    told = dict(step=run.step, task=run.task, missing=list(missing), images=rows)
    (folder / "explanation.json").write_text(json.dumps(told, indent=1) + "\n")
    count = f"{len(images)} image{'s' if len(images) != 1 else ''}"
    print(f"step {run.step}: {count}, explanations in {folder}", flush=True)
    for line in missing:
        print(f"not there: {line}")
    if unread := [row for row in rows if "error" in row]:
        lines = [f"    {row['image']}: {row['error']}" for row in unread[:_SPOKEN]]
        raise UserError(
            f"{len(unread)} of {len(rows)} images could not be read; all others are done "
            "(explanation.json lists both):\n" + "\n".join(lines)
        )
    return told


def _label(run: ExplainedRun, found: Explanation) -> str:
    return f"{run.names[int(found.classes[0])]}, logit {found.scores[0]:.2f}"


def _pictures(
    folder: pathlib.Path,
    stem: str,
    image: ExplainedImage,
    found: Explanation,
    *,
    label: str,
) -> dict[str, str]:
    """Writes the pictures of one image; returns their names."""
    pictures = {
        "overview": overview(image, found, label=label),
        "maps": all_maps(image, found),
        "heads": all_heads(image, found),
    }
    names = {}
    for kind, picture in pictures.items():
        if picture is not None:
            names[kind] = f"{stem}.png" if kind == "overview" else f"{stem}_{kind}.png"
            Image.fromarray(picture).save(folder / names[kind])
    return names


def _numbers(found: Explanation) -> dict[str, Any]:
    """Returns what is told of one image in numbers."""
    distances = {
        layer.path: np.round(layer.distances_px[0], 2).tolist()
        for layer in found.attention
        if layer.distances_px is not None
    }
    energy = {
        path: {
            str(stride): round(float(level.mean()), 4) for stride, level in levels.items()
        }
        for path, levels in found.levels.items()
    }
    return dict(
        score=float(found.scores[0]),
        views=found.view_names(),
        attention_distance_px=distances,
        level_energy=energy,
    )
