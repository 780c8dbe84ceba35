"""What `accelerator.py` measures: models, sizes and single changes to them."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.contracts import Source
from hybrid_jax.models.layers import normalization
from hybrid_jax.models.resnet import stem
from hybrid_jax.ops.platform import platform, tracing_for
from hybrid_jax.train.experiment import Experiment, prepare
from hybrid_jax.train.parallel.step_params import mark_standardized
from hybrid_jax.train.state import merge_model, split_model


@dataclasses.dataclass(frozen=True)
class Case:
    """One program to be measured.

    Attributes:
        model: a named model.
        px: side of the images.
        batch: images a step.
        kind: "train" or "infer".
        variant: a key of `CHANGES` or `SUBSTITUTES`, `NOT_STANDARDIZED` or `FOLDED`.
    """

    model: str
    px: int
    batch: int
    kind: str
    variant: str = "default"

    def __str__(self) -> str:
        return f"{self.model}@{self.px}/{self.kind}/{self.variant}"


# model, px, images a step in training and in inference; those that matter most first.
_MODELS = [
    ("r26_vit_b16", 224, 256, 512),
    ("r26_vit_s32", 224, 512, 1024),
    ("r50_vit_b16", 224, 256, 512),
    ("r50_vit_l32", 384, 128, 256),
    ("vit_b16", 384, 128, 256),
    ("vit_b16", 224, 256, 512),
]
_TINY = [("tiny", 64, 8, 8)]

# Variant -> the keys of the config that it sets.
CHANGES: dict[str, dict[str, Any]] = {
    "default": {},
    "xla attention": {"model.attention": "xla"},
    "mean pool": {"model.vit_options.pool": "mean"},  # an even number of tokens
    "remat": {"model.vit_options.remat": "full", "model.resnet_options.remat": "full"},
    "block scan": {"model.vit_options.block_loop": "scan"},
    "remat dots": {"model.vit_options.remat": "dots", "model.resnet_options.remat": "dots"},
}


def _same(self, x, *, train):
    return (x * self.scale[...] + self.bias[...]).astype(self.dtype)


def _other_max(x, *, padding):
    # TPUs have a window reduction by default, GPUs and CPUs shifted views.
    with tracing_for("cpu" if platform() == "tpu" else "tpu"):
        return _max_pool(x, padding=padding)


_max_pool = stem.max_pool

# Variant -> (where a function lives, its name, what stands in for it).
SUBSTITUTES = {
    "no GroupNorm": (normalization.GroupNorm, "__call__", _same),
    "other max pool": (stem, "max_pool", _other_max),
}
NOT_STANDARDIZED = "no standardization"
FOLDED = "folded"  # inference with what is constant computed beforehand

# Place in `_MODELS`, kind, variants.
_ABLATIONS = [
    (0, "train", ("xla attention", "mean pool", "no GroupNorm", NOT_STANDARDIZED)),
    (0, "infer", (FOLDED, "xla attention", "no GroupNorm")),
    (0, "train", ("other max pool", "remat dots", "remat", "block scan")),
    (1, "train", ("xla attention", "no GroupNorm", "other max pool")),
    (1, "infer", (FOLDED, "xla attention", "no GroupNorm")),
    (3, "infer", (FOLDED,)),
]


def table_cases(*, tiny: bool) -> list[Case]:
    """Returns every model in training and inference, then the ablations."""
    models = _TINY if tiny else _MODELS
    cases = []
    for model, px, train, infer in models:
        cases += [Case(model, px, train, "train"), Case(model, px, infer, "infer")]
    for place, kind, variants in _ABLATIONS:
        if place < len(models):
            model, px, *batches = models[place]
            batch = batches[kind == "infer"]
            cases += [Case(model, px, batch, kind, variant) for variant in variants]
    return cases


def _config_of(case: Case) -> ConfigDict:
    """Returns the config of a case; the dtype is that of the device."""
    config = defaults(case.model)
    with config.ignore_type():
        config.data.image_size = case.px
    config.train.update(batch_size=case.batch, steps=1000)
    config.update_from_flattened_dict(CHANGES.get(case.variant, {}))
    return config


@contextlib.contextmanager
def substituted(variant: str) -> Iterator[None]:
    """Replaces one function of the library while a program is traced, if so asked."""
    if variant not in SUBSTITUTES:
        yield
        return
    place, name, substitute = SUBSTITUTES[variant]
    with mock.patch.object(place, name, substitute):
        yield


def experiment_of(
    case: Case, *, source: Source, devices: list | None = None, platform: str | None = None
) -> Experiment:
    """Describes a case on the first device, or on others; nothing is computed."""
    config = _config_of(case)
    devices = devices or jax.devices()[:1]
    experiment = prepare(config, source=source, devices=devices, platform=platform)
    if case.variant != NOT_STANDARDIZED:
        return experiment
    shapes = experiment.shapes
    model = merge_model(experiment.graph, shapes.params, shapes.mutable)
    mark_standardized(model)  # although nothing has done it
    return dataclasses.replace(experiment, graph=split_model(model)[0])


def chosen(cases: list, words: list[str] | None) -> list:
    """Returns the cases whose name holds one of the words; all, if there are none."""
    if not words:
        return cases
    return [case for case in cases if any(word in str(case) for word in words)]
