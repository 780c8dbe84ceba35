"""Boxes or masks: hybrids against a ResNet of equal cost, in short runs or in yours.

Command:  python -m hybrid_jax.main --mode=study --config=studies/dense_halves
Hardware: one CPU core (AMD EPYC)
Time:     about 25 min for boxes, 30 min for masks (20 runs each)
Result:   no interval excludes 0: -1.7 to +1.0 AP, -5.7 to +2.9 mIoU (docs/tips.md)

After the colon is an experiment, and after another one its data: `shapes_detection`
(default), `shapes_segmentation`, `bccd_fcos:voc=/data/BCCD`. The data need a split for
training, one for validation and one for the test.

On `shapes_detection` and `shapes_segmentation` a run is 400 steps of 16 images, unless the
words say otherwise (`shapes_detection:shapes,steps=2000`), and all variants have the
multiply-accumulates of the ResNet within 10 %. Other experiments keep their length, and
are not matched.
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import keys_given
from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_SHORT = {"steps": 400, "epochs": None}
_MATCHED = {
    "resnet": {"model.resnet_options.blocks": (2, 3, 2)},
    "sequential": {"model.vit_options.depth": 4},
    "late_concat": {"model.vit_options.width": 96, "model.vit_options.mlp_dim": 384},
    "conformer": {},
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` is EXPERIMENT or EXPERIMENT:ARGUMENT."""
    name, _, words = (argument or "shapes_detection").partition(":")
    base = named(argument or name)
    on_shapes = name in ("shapes_detection", "shapes_segmentation")
    if on_shapes:
        own = _MATCHED
        given = keys_given(words)
        if not given & {"steps", "epochs"}:
            base.train.update(_SHORT)
            base.eval.every = base.checkpoint.every = 200
            if "batch" not in given:
                base.train.batch_size = 16
    else:
        # The experiments give the plain ResNet the cost of the hybrid, as they say.
        resnet = named(
            f"{name}:{words},fusion=resnet" if words else f"{name}:fusion=resnet"
        )
        blocks = resnet.model.resnet_options.blocks
        own = {"resnet": {"model.resnet_options.blocks": blocks}}
    return study_config(
        base,
        variants={
            fusion: {"model.fusion": fusion} | own.get(fusion, {}) for fusion in _MATCHED
        },
        grid={"optimizer.learning_rate": (1e-3, 2e-3, 4e-3)},
        baseline="resnet",
        matched="macs" if on_shapes else "none",
    )
