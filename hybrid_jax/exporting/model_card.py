"""The model card of an exported program: a README.md that the Hugging Face hub reads."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from hybrid_jax import __version__
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.ops.normalize_image import POLICIES

# Names of tasks on the hub.
_PIPELINES = dict(
    classification="image-classification",
    detection="object-detection",
    segmentation="image-segmentation",
)
_SHOWN_CLASSES = 50
_LOADERS = {
    "stablehlo": """```python
from load_model import load_model  # beside this file; needs jax and flatbuffers

run, facts = load_model(".")
outputs = run(images)  # {shape}, {dtype}
```""",
    "onnx": """```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(None, {{"images": images}})))  # {shape}, {dtype}
```""",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a model card says of a run.

    Attributes:
        task: name of the task.
        class_names: in the order of the outputs.
        model: the `model` branch of the config.
        parameters: their number, as trained.
        data: what the data is called, without the folders that hold it.
        train_examples: length of the training split.
        step: of the checkpoint.
        report: `report.json`; None if the run has not ended.
        normalization: name of the image policy, with its `mean` and `deviation`.
    """

    task: str
    class_names: tuple[str, ...]
    model: Mapping[str, Any]
    parameters: int
    data: str
    train_examples: int
    step: int
    report: Mapping[str, Any] | None
    normalization: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def facts_of(
    config: ConfigDict,
    workdir: epath.Path,
    *,
    info: DatasetInfo,
    params: Mapping[str, Any],
    train_examples: int,
    step: int,
) -> RunFacts:
    """Returns the facts of a run.

    Args:
        config: resolved.
        workdir: of the run, for its `report.json`.
        info: the classes.
        params: the parameters as trained.
        train_examples: length of the training split.
        step: of the checkpoint.
    """
    names = dict(
        classification=info.class_names or tuple(map(str, range(info.num_classes))),
        detection=info.box_names,
        segmentation=info.segmentation_names,
    )
    path = workdir / "report.json"
    mean, deviation = POLICIES[config.model.normalization]
    return RunFacts(
        task=config.task.name,
        class_names=tuple(names[config.task.name]),
        model=config.model.to_dict(),
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)),
        data=without_folders(config.data.name),
        train_examples=train_examples,
        step=step,
        report=json.loads(path.read_text()) if path.exists() else None,
        normalization=config.model.normalization,
        mean=mean,
        deviation=deviation,
    )


def model_card(told: Mapping[str, Any], facts: RunFacts, *, format: str) -> str:
    """Returns the text of `README.md`.

    Args:
        told: the content of `model.json`.
        facts: of the run.
        format: "stablehlo" or "onnx".
    """
    shape, dtype = told["input_shape"], told["input_dtype"]
    parts = facts.model["fusion"], facts.model["head"]
    count = len(facts.class_names)
    names = ", ".join(facts.class_names[:_SHOWN_CLASSES])
    more = f", and {count - _SHOWN_CLASSES} more" if count > _SHOWN_CLASSES else ""
    prepared = (
        "uint8 RGB; resizing, normalizing and decoding are inside."
        if told["program"] == "whole"
        else f"float32 RGB in [0, 1], minus {list(facts.mean)}, divided by "
        f"{list(facts.deviation)}."
    )
    outputs = "\n".join(f"- `{name}` {text}" for name, text in told["outputs"].items())
    loader = _LOADERS[format].format(shape=shape, dtype=dtype)
    sizes = ", ".join(f"{facts.model[part]}" for part in ("resnet", "vit"))
    return f"""---
license: unknown # set it before you publish
library_name: jax
pipeline_tag: {_PIPELINES[facts.task]}
tags: [hybrid_jax, jax, {format}]
---
# {facts.task.capitalize()} with `{parts[0]}`

A model of hybrid_jax {__version__}: fusion `{parts[0]}` of the parts {sizes}, head
`{parts[1]}`, {facts.parameters:,} parameters; folded for inference.

## Use

{loader}

- Images: {shape}, {prepared}
{outputs}

`model.json` has the names of the classes, in the order of the outputs.

## Data

`{facts.data}`, {facts.train_examples:,} training images. {count} classes: {names}{more}.

## Scores

{_scores(facts)}

## License

Not stated. Set `license` at the top of this file, and mind the license of the data.
"""


def _scores(facts: RunFacts) -> str:
    report = facts.report
    if report is None:
        return f"Checkpoint of step {facts.step}. The run has no `report.json` yet."
    rows = [
        f"| {name} | {value:.4f} |"
        for name, value in report["scores"].items()
        if isinstance(value, float)
    ]
    best = report.get("best")
    kept = f" Best: {best['score']:.4f} at step {best['step']}." if best else ""
    return "\n".join(
        [
            f"Split `{report['split']}` after {report['steps']} steps; the file holds the "
            f"checkpoint of step {facts.step}.{kept}",
            "",
            "| score | value |",
            "|---|---|",
            *rows,
        ]
    )


def without_folders(name: str) -> str:
    """Returns `folder:birds` for `folder:/home/ann/birds`: paths are nobody's business."""
    kind, colon, places = name.partition(":")
    ends = [place.rstrip("/").rpartition("/")[2] for place in places.split(",")]
    return kind + colon + ",".join(ends)
