"""Start from a trained half: a hybrid with a donor's ResNet or ViT, or from scratch.

Command:  python -m hybrid_jax.main --mode=study --config=studies/grafting_cifar
Hardware: one CPU core
Time:     about 40 min a core (25 runs)
Result:   test top-1: scratch 0.518, grafted 0.580, twice as long 0.597 (docs/tips.md)

The hybrid is `late_concat` of `configs/cifar_small.py`. First train and export the donor,
which is one of its halves alone, on the same photos:

    python -m hybrid_jax.main --config=cifar_small:folder=/data/cifar10,fusion=resnet
        --workdir=runs/donor_resnet
    python -m hybrid_jax.main --config=cifar_small:folder=/data/cifar10,fusion=resnet
        --workdir=runs/donor_resnet --mode=export --format=safetensors
    python -m hybrid_jax.main --mode=study
        --config=studies/grafting_cifar:donor=runs/donor_resnet,folder=/data/cifar10

and for the ViT `fusion=vit`, `--workdir=runs/donor_vit`, `--format=npz` and the words
`half=vit,donor=runs/donor_vit`. `donor=` is the workdir of a run or a file of weights;
without it the donor is `runs/donor_resnet`. All variants have the same steps but
`scratch_twice`, which has as many again as the donor had.
"""

import pathlib

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.studies.study_config import study_config

_OWN = ("half=", "donor=")
_EXPORTED = {"resnet": "export/model.safetensors", "vit": "export/model.npz"}


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` has `half=`, `donor=`, and what `select` reads."""
    words = argument.split(",") if argument else []
    own = dict(word.split("=", 1) for word in words if word.startswith(_OWN))
    half = own.get("half", "resnet")
    path = pathlib.Path(own.get("donor", f"runs/donor_{half}")).expanduser().absolute()
    if not path.suffix:
        path /= _EXPORTED[half]
    rest = [word for word in words if not word.startswith(_OWN)]
    base = named(f"cifar_small:{','.join(rest)}")
    base.model.fusion = "late_concat"
    # Numerics and preparation of images stay those from scratch.
    base.model.pretrained_options.update(numerics="config", preprocessing="config")
    length = "epochs" if base.train.steps is None else "steps"
    grafted = {f"model.pretrained_{half}": str(path)}
    return study_config(
        base,
        variants={
            "scratch": {},
            "scratch_twice": {f"train.{length}": 2 * base.train[length]},
            "grafted": grafted,
            "frozen": grafted | {f"optimizer.branch.{half}": 0.0},
            "slow": grafted | {f"optimizer.branch.{half}": 0.1},
            "layer_decay": grafted | {"optimizer.layer_decay": 0.75},
        },
        grid={"optimizer.learning_rate": (5e-4, 1.5e-3, 4e-3)},
        baseline="scratch",
        matched="macs",
    )
