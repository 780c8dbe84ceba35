"""Files with the names of a model and anything in them: our own errors, never others."""

import contextlib
import random

import numpy as np
import pytest
from google_writer import GoogleModel, drawn, expected, shapes

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.fill import match

MODEL = GoogleModel(pre_logits=20, depth=1)
FILE = drawn(shapes(MODEL))
TARGETS = {path: array.shape for path, array in expected(MODEL, FILE).items()}
BESIDE = (
    *("{}", "[]", "nonsense", '{"image_size": "a"}', '{"image_size": [24, 24]}'),
    *('{"image_size": [0, 1]}', '{"pretrained_cfg": {"input_size": [3, 24]}}'),
    '{"model_args": 3, "image_size": [3, 10000000000000000000000]}',
)


def damaged(draw: random.Random) -> dict:
    """Returns arrays of which some are missing, renamed, or of another shape or type."""
    file = dict(FILE)
    for _ in range(draw.randint(1, 3)):
        key = draw.choice(list(file))
        array, kind = file[key], draw.random()
        if kind < 0.3:
            file.pop(key)
        elif kind < 0.5:
            file[key[:-1] + draw.choice("abz/_")] = file.pop(key)
        elif kind < 0.8:
            others = [(), (0,), (1,), (*array.shape, 1), array.shape[::-1]]
            file[key] = np.zeros(draw.choice([*others, (7,) * array.ndim]), np.float32)
        else:
            file[key] = array.astype(draw.choice(["f2", "i4", "U3", "c8"]))
    return file


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_damage_ends_in_our_own_error(tmp_path, count):
    for seed in range(count):
        draw = random.Random(seed)
        np.savez(tmp_path / "w.npz", **damaged(draw))
        (tmp_path / "config.json").write_text(draw.choice(BESIDE))
        with contextlib.suppress(UserError):
            file = open_published(tmp_path / "w.npz", hints=Hints())
            for array in file.stored.values():
                with contextlib.suppress(UserError):
                    array.read()
            match(file.stored, file.entries, TARGETS, resize="bicubic_aa")
