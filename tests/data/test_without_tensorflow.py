"""Runs in a program of its own: other tests' imports must not count."""

import os
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).parents[2]

# One after another in one program: importing the library takes longer than all of them.
IMPORT_SOURCES = """
import sys
from hybrid_jax.data.sources import SOURCES
SOURCES.names()
heavy = {"tensorflow_datasets", "sklearn", "tensorflow"} & set(sys.modules)
assert not heavy, heavy
"""

TRAIN_AND_EVALUATE = """
from hybrid_jax.config import defaults
from hybrid_jax.data import pipeline
from hybrid_jax.data.sources import open_source

data = defaults().data
data.image_size = (8, 8)
source = open_source("digits", split="train")
stream = pipeline.train_batches(source, data=data, batch_size=8, seed=0, start_step=0)
next(iter(stream))
stream.close()
next(iter(pipeline.eval_batches(source, data=data, batch_size=8)))
assert "tensorflow" not in sys.modules
"""

BUILD_SHAPES = """
import numpy as np
from hybrid_jax.data.shapes import shapes
from hybrid_jax.data.shapes.tfds_builder import HybridShapes
from hybrid_jax.data.sources import open_source
from hybrid_jax.data.sources.shapes import ShapesSource

HybridShapes.limit = 3
builder = HybridShapes(config="s64", data_dir=sys.argv[1], file_format="array_record")
builder.download_and_prepare(file_format="array_record")
for split in shapes.SPLITS:
    drawn = ShapesSource(split=split, size_px=64, num_examples=3)
    written = builder.as_data_source(split=split)
    read = open_source("tfds:hybrid_shapes/s64", split=split)
    assert read.info.class_names == drawn.info.class_names
    for i, record in enumerate(written):  # TFDS orders examples by a hash of their keys
        expected = drawn[int(record["id"])]
        for key in ("image", "label", "texture", "layout"):
            np.testing.assert_array_equal(record[key], expected[key], err_msg=key)
        for key in ("segmentation", "instances"):
            np.testing.assert_array_equal(record[key][..., 0], expected[key])
        textures = np.asarray(record["objects"]["texture"])
        np.testing.assert_array_equal(textures, expected["box_textures"])
        for key in ("image", "label", "boxes_xyxy_px", "box_labels"):
            np.testing.assert_array_equal(read[i][key], expected[key], err_msg=key)
assert HybridShapes(config="s128", data_dir=sys.argv[1]).info.features["image"].shape == (
    128, 128, 3
)
assert "tensorflow" not in sys.modules
"""


def test_nothing_heavy_is_read_and_tensorflow_never_is(tmp_path):
    """Neither by batches, nor by shapes that are built and read back bit for bit."""
    program = IMPORT_SOURCES + TRAIN_AND_EVALUATE + BUILD_SHAPES
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=REPOSITORY,
        env=os.environ | dict(TFDS_DATA_DIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
