"""Every registered fusion of the same small parts, each at its best rate.

Command:  python -m hybrid_jax.main --mode=study --config=configs/studies/every_fusion.py
Hardware: two CPU cores
Time:     not yet measured
Result:   not yet measured

Data: shapes (default), or any other, with words as in `recipes.select`. The parts are those
of `configs/tiny_fusions.py`; what the fusions add makes 0.4 to 2.3 M parameters of them, so
nothing is matched, and the table has the sizes. `wirings_cifar` is matched.
"""

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import keys_given
from hybrid_jax.config_files import named
from hybrid_jax.models.hybrid import list_fusions
from hybrid_jax.studies.study_config import study_config

# So that size alone is no excuse of the plain halves.
_LARGER = {
    "resnet": {"model.resnet_options.blocks": (2, 3, 2)},
    "vit": {"model.vit_options.depth": 10},
}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` as in `recipes.select`, whose words count."""
    base = named(f"tiny_fusions:{argument or 'shapes'}")
    given = keys_given(argument)
    if not given & {"steps", "epochs"}:
        base.train.update(steps=800, epochs=None)
        base.eval.every = base.checkpoint.every = 400
    if "batch" not in given:
        base.train.batch_size = 16
    variants = {
        fusion: {"model.fusion": fusion} | _LARGER.get(fusion, {})
        for fusion in list_fusions()
    }
    return study_config(
        base,
        variants=variants,
        grid={"optimizer.learning_rate": (2e-4, 6e-4, 2e-3)},
        baseline="resnet",
        matched="none",
    )
