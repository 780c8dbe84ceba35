"""GroupNorm with standardized weights, or BatchNorm, at one size of batch.

Command:  python -m hybrid_jax.main --mode=study --config=studies/norms_cifar:folder=DIR
Hardware: one CPU core
Time:     20 to 25 min for each size of batch (12 runs)
Result:   BatchNorm is ahead by 0.013 with 8 images, by 0.030 with 128 (docs/tips.md)

`:folder=DIR,batch=8` is another size of batch; the number of images is the same for all,
unless `steps=` or `epochs=` says otherwise.
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import keys_given
from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_IMAGES = 1200 * 32


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`."""
    base = named(f"cifar_small:{argument}")
    base.model.fusion = "resnet"
    base.model.resnet_options.blocks = (2, 4, 2)
    given = keys_given(argument)
    if not given & {"steps", "epochs"}:
        steps = _IMAGES // base.train.batch_size
        base.train.update(steps=steps, epochs=None)
        base.eval.every = base.checkpoint.every = max(1, steps // 3)
    return study_config(
        base,
        variants={norm: {"model.resnet_options.norm": norm} for norm in ("group", "batch")},
        grid={"optimizer.learning_rate": (5e-4, 1.5e-3, 4e-3, 1e-2)},
        baseline="group",
    )
