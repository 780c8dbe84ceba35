"""Which of some fusions is best for your data: short, tuned runs of small models.

Command:  python -m hybrid_jax.main --mode=study
              --config=studies/compare:folder=DIR,fusions=resnet+late_concat+conformer
Hardware: one CPU core
Time:     9 min with 300 photos, size=32 and steps=120 (15 runs); longer by default
Result:   a table and plots; what they say is about your data

`fusions=` names two or more, the first of which the others are compared with; all other
words are as for any experiment, such as `size=128`, `steps=2000` or `batch=64`. Without
them, images are of 64 px and a run has 600 steps of 32 images. The parts are those of
`configs/tiny_fusions.py`. Sizes are not matched, but the table has them; with
`--config.study.matched=macs` the study is refused where they differ by more than 10 %.

A folder without a split for the test is shared out anew: of the images in it, or in its
folder for training, a tenth is the test split and another tenth validation. The plan says
so.
"""

import pathlib
import re

from ml_collections import ConfigDict

from hybrid_jax.config_files import named
from hybrid_jax.data.formats.class_folders import split_folders
from hybrid_jax.errors import UserError, nearest
from hybrid_jax.models.hybrid import list_fusions
from hybrid_jax.studies.study_config import study_config

_FUSIONS = re.compile(r"(?:^|,)fusions=([^,]*)")
_USUAL = "resnet+late_concat+conformer"


def get_config(argument: str = "") -> ConfigDict:
    """Returns the study; `argument` has `fusions=A+B+C`, and what `select` reads.

    Raises:
        UserError: fewer than two fusions, one that there is not, a word `fusion=`, or what
            `select` raises.
    """
    found = _FUSIONS.findall(argument)
    fusions = _checked("+".join(found) if found else _USUAL)
    words = _FUSIONS.sub("", argument).strip(",") or "digits"
    if re.search(r"(^|,)fusion=", words):
        raise UserError(
            f"config argument {argument!r}: one fusion is compared with nothing. Name "
            f"two or more, joined by +, as fusions={_USUAL}."
        )
    base = named(f"tiny_fusions:{words}")
    base.data.name = _with_test_split(base.data.name)
    if not re.search(r"(^|,)(steps|epochs)=", words):
        base.train.update(steps=600, epochs=None)
    if not re.search(r"(^|,)batch=", words):
        base.train.batch_size = 32
    if not re.search(r"(^|,)size=", words):
        base.data.image_size = 64
    base.eval.every = base.checkpoint.every = 200
    return study_config(
        base,
        variants={fusion: _parts(fusion, words) for fusion in fusions},
        grid={"optimizer.learning_rate": (3e-4, 1e-3, 3e-3)},
        baseline=fusions[0],
        matched="none",
    )


def _checked(text: str) -> list[str]:
    """Returns the names in `A+B+C`, checked."""
    names = text.split("+")
    for name in names:
        if name not in list_fusions():
            raise UserError(
                f"config argument 'fusions={text}': unknown fusion {name!r}."
                f"{nearest(name, list_fusions())} Known: {', '.join(list_fusions())}."
            )
    if len(set(names)) < max(2, len(names)):
        raise UserError(
            f"config argument 'fusions={text}': expected two or more different fusions, "
            f"joined by +, as fusions={_USUAL}."
        )
    return names


def _parts(fusion: str, words: str) -> dict[str, object]:
    """Returns a fusion, and the blocks that a half alone has more of."""
    own = named(f"tiny_fusions:{words},fusion={fusion}").model
    return {
        "model.fusion": fusion,
        "model.resnet_options.blocks": own.resnet_options.blocks,
        "model.vit_options.depth": own.vit_options.depth,
    }


def _with_test_split(name: str) -> str:
    """Returns the name of data that have a test split, which folders may lack.

    The images for training are then shared out anew, as those of a folder without splits.
    """
    kind, _, location = name.partition(":")
    root = pathlib.Path(location).expanduser()
    if kind != "folder" or not root.is_dir():
        return name
    splits = split_folders(root, name=name)
    if not splits or "test" in splits or "train" not in splits:
        return name
    unread = ", ".join(str(f) for split, f in splits.items() if split != "train")
    print(
        f"data: {root} has no test split, so {splits['train']} is shared out into three"
        + (f"; {unread} is not read" if unread else ""),
        flush=True,
    )
    return f"folder:{splits['train']}"
