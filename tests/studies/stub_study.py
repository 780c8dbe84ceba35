"""A study of stub runs: `python stub_study.py WORKDIR JOBS [MATCHED]` runs two seeds."""

import functools
import json
import pathlib
import sys

import pytest

from hybrid_jax.config import defaults
from hybrid_jax.data.sources import shapes
from hybrid_jax.studies import study as study_module
from hybrid_jax.studies.planning.sizes import Size
from hybrid_jax.studies.study import study
from hybrid_jax.studies.study_config import study_config

FEW_SHAPES = functools.partial(shapes.ShapesSource, num_examples=20)
TWO_SEEDS = (0, 1)
STUB = (sys.executable, "-S", str(pathlib.Path(__file__).with_name("stub_training.py")))

# `stub_training` plants two points on `sequential` and none on `late_concat`.
VARIANTS = {
    "resnet": {"model.fusion": "resnet"},
    "sequential": {"model.fusion": "sequential"},
    "late_concat": {"model.fusion": "late_concat"},
}


def config(*, variants=VARIANTS, data="digits", **options):
    """Returns a study of three variants, two rates and five seeds."""
    base = defaults("tiny")
    base.data.name = data
    base.train.update(steps=10, batch_size=8)
    base.data.image_size = 16
    options = dict(matched="none", seeds=(0, 1, 2, 3, 4), jobs=4) | options
    grid = options.pop("grid", {"optimizer.learning_rate": (1e-3, 1e-2)})
    return study_config(base, variants=variants, grid=grid, **options)


def carry_out(workdir, *, plotted=False, **options):
    """Runs the study with stubs for training and models; plots nothing if unasked.

    It has three seeds if nothing else is said, and data sets of few drawn shapes.
    """
    measure = options.pop("measure", lambda experiment: Size(1000, 2000))
    options = dict(seeds=(0, 1, 2)) | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "ShapesSource", FEW_SHAPES)
        if not plotted:
            patch.setattr(study_module, "save_plots", lambda found, workdir: [])
        return study(config(**options), str(workdir), program=STUB, measure=measure)


def without_time(node):
    """Returns a report without what depends on the clock."""
    if isinstance(node, dict):
        return {key: without_time(value) for key, value in node.items() if key != "time"}
    return [without_time(value) for value in node] if isinstance(node, list) else node


def saved(workdir):
    """Returns `study.json` without what depends on the clock."""
    return without_time(json.loads((workdir / "study.json").read_text()))


if __name__ == "__main__":
    matched = sys.argv[3] if len(sys.argv) > 3 else "none"
    options = dict(jobs=int(sys.argv[2]), matched=matched, seeds=TWO_SEEDS)
    carry_out(pathlib.Path(sys.argv[1]), **options)
