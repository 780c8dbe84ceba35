"""What the pipeline makes of examples stays the same, bit for bit, from version to version.

`goldens/batches.json` was written before classification and dense data shared their
transforms, so recorded results of before stay valid. Write it anew after an intended change
with `UPDATE_GOLDEN=1 pytest -n 0 tests/data/test_golden_batches.py`. Another Pillow may
round otherwise: pixels are compared under the major version that wrote the file.
"""

import hashlib
import itertools
import json
import os
import pathlib

import numpy as np
import PIL
import pytest
from data_examples import data_config
from dense_examples import ListedSource

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data.pipeline import eval_batches, train_batches
from hybrid_jax.errors import BadImageError

FILE = pathlib.Path(__file__).parent / "goldens" / "batches.json"
PILLOW = PIL.__version__.partition(".")[0]
SIZES = ((20, 30), (12, 16), (40, 7), (9, 64), (48, 48), (100, 140), (13, 15))
SEEDS, BATCHES = (0, 1, 2), 2  # of training
LABEL, BOXES, MASKS = ("label",), ("boxes",), ("segmentation",)
DENSE = dict(boxes=BOXES, masks=MASKS, both=BOXES + MASKS)


class _Source(ListedSource):
    """Random examples with everything; the fourth cannot be read."""

    def __init__(self):
        examples = [_example(i, hw) for i, hw in enumerate(SIZES)]
        super().__init__(examples, info=DatasetInfo(7, box_names=tuple("abc")))

    def __getitem__(self, index):
        if index == 3:
            raise BadImageError("image 'number_3.jpg' cannot be read: torn.")
        return super().__getitem__(index)


def _example(number: int, hw: tuple[int, int]) -> dict:
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (hw[0] // 4 + 1, hw[1] // 4 + 1, 3))
    smooth = coarse.repeat(4, 0).repeat(4, 1)[: hw[0], : hw[1]]
    noisy = np.clip(smooth + rng.integers(-20, 20, (*hw, 3)), 0, 255).astype(np.uint8)
    first = rng.uniform(0, 0.7, (6, 2)) * hw[::-1]
    last = np.minimum(first + rng.uniform(0.02, 0.5, (6, 2)) * hw[::-1], hw[::-1])
    return dict(
        image=noisy,
        label=number,
        boxes_xyxy_px=np.concatenate([first, last], 1).astype(np.float32),
        box_labels=rng.integers(0, 3, 6).astype(np.int32),
        box_crowd=np.arange(6) == 2,
        segmentation=rng.choice(np.uint8([0, 1, 2, 255]), hw),
        faulty=number % 3,
    )


def _train_cases():
    """Yields (name, targets, changes of `config.data`)."""
    color = dict(color_jitter=0.4)
    augmented = color | dict(randaugment_layers=2, interpolation="bilinear")
    for crop, (word, extra) in itertools.product(
        ("resize", "random_resized", "pad"), dict(plain={}, augmented=augmented).items()
    ):
        yield f"train label {crop} {word}", LABEL, dict(crop=crop) | extra
    strong = dict(crop="random_resized", crop_area=(0.2, 0.9), crop_ratio=(0.5, 3.0))
    yield "train label narrow", LABEL, strong | dict(image_size=(24, 24))
    for crop, (word, targets) in itertools.product(
        ("resize", "letterbox", "scale_jitter"), DENSE.items()
    ):
        yield f"train {word} {crop}", targets, dict(crop=crop)
    for crop in ("resize", "letterbox", "scale_jitter"):
        changes = dict(crop=crop, interpolation="bilinear") | color
        yield f"train both {crop} colors", DENSE["both"], changes
    large = dict(crop="scale_jitter", scale_jitter=(1.0, 4.0), image_size=(31, 24))
    yield "train both large", DENSE["both"], large


def _eval_cases():
    for share, interpolation in itertools.product((1.0, 0.875), ("bicubic", "bilinear")):
        changes = dict(eval_crop=share, interpolation=interpolation)
        yield f"eval label {share} {interpolation}", LABEL, changes
    yield "eval label large", LABEL, dict(eval_crop=0.9, image_size=(40, 24))
    for fit, (word, targets) in itertools.product(("letterbox", "resize"), DENSE.items()):
        yield f"eval {word} {fit}", targets, dict(eval_fit=fit)


def _digest(batches: list[dict]) -> dict[str, list]:
    """Returns each key's values where they are few, else a hash, for each batch."""
    return {
        key: [
            batch[key].tolist()
            if batch[key].ndim == 1
            else hashlib.sha256(np.ascontiguousarray(batch[key]).tobytes()).hexdigest()[:16]
            for batch in batches
        ]
        for key in batches[0]
    }


def _digests(name: str, targets, changes, *, seeds=SEEDS) -> dict[str, list]:
    data = data_config(max_boxes=4, on_bad_image="skip").copy_and_resolve_references()
    data.update(changes)
    options = dict(data=data, targets=targets, batch_size=6)
    if name.startswith("eval"):
        return _digest(list(eval_batches(_Source(), **options)))
    batches = []
    for seed in seeds:
        stream = train_batches(_Source(), seed=seed, start_step=seed, **options)
        batches += itertools.islice(stream, BATCHES)
        stream.close()
    return _digest(batches)


CASES = {name: rest for name, *rest in [*_train_cases(), *_eval_cases()]}


def test_golden_file_is_of_these_cases():
    if os.environ.get("UPDATE_GOLDEN"):
        golden = dict(pillow=PILLOW)
        golden |= {name: _digests(name, *rest) for name, rest in CASES.items()}
        lines = [f"{json.dumps(name)}: {json.dumps(golden[name])}" for name in golden]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    assert json.loads(FILE.read_text()).keys() == {"pillow", *CASES}


@pytest.mark.parametrize(
    "seeds", [SEEDS[:1], pytest.param(SEEDS, marks=pytest.mark.slow)], ids=["one", "all"]
)
@pytest.mark.parametrize("name", CASES)
def test_batches_are_those_of_the_golden_file(name, seeds):
    file = json.loads(FILE.read_text())
    golden = file[name]
    if file["pillow"] != PILLOW:
        del golden["image"]
    if name.startswith("train"):
        golden = {key: rows[: len(seeds) * BATCHES] for key, rows in golden.items()}
    now = _digests(name, *CASES[name], seeds=seeds)
    assert {key: now.get(key) for key in golden} == golden
