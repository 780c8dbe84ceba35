"""Every folder tree on the page about data can be read by the command below it."""

import re

import documents
import drawn_tree
import pytest
from test_commands import _get_config, commands

from hybrid_jax.data.sources import SOURCES, open_split

PAGE = documents.PAGES["docs/data.md"]
# A tree and the command below it, if that names a folder that the tree can be put under.
SHOWN = re.findall(r"^```text\n(/data.*?)^```\n+(^```bash\n.*?^```)", PAGE, re.M | re.S)
SPLITS = {  # what each data set has, and how many images of the tree are in train
    "/data/birds": (("train", "validation", "test"), 3),
    "/data/flowers": (("train", "validation", "test"), 2),
    "/data/leaves": (("train", "validation", "test"), 2),
    "/data/coco": (("train", "validation"), 2),
    "/data/cells": (("train", "validation", "test"), 1),
    "/data/potholes": (("train", "validation"), 2),
    "/data/BCCD": (("train", "validation", "test"), 1),
    "/data/VOCdevkit/VOC2012": (("train", "validation"), 1),
    "/data/nuclei": (("train", "validation"), 2),
    "/data/fashion-mnist": (("train", "validation", "test"), 11),
}


@pytest.mark.parametrize("place", SPLITS)
def test_tree_is_what_the_command_reads(place, tmp_path):
    ((drawing, block),) = [s for s in SHOWN if s[0].splitlines()[0] == place]
    drawn_tree.make(drawing, tmp_path)
    (words,) = commands(block)
    (config,) = [w.partition("=")[2] for w in words if w.startswith("--config=")]
    path, _, argument = config.partition(":")
    argument = argument.replace("/data/", f"{tmp_path}/data/")
    data = _get_config(documents.ROOT / path)(argument).data
    splits, in_train = SPLITS[place]
    for split in splits:
        source = open_split(data, split=split)
        assert len(source) >= 1
        assert source[0]["image"].ndim == 3
        assert split != "train" or len(source) == in_train


def test_every_tree_is_tried():
    assert [drawing.splitlines()[0] for drawing, _ in SHOWN] == list(SPLITS)


def test_every_source_is_on_the_page():
    headings = " ".join(re.findall(r"^## (.*)$", PAGE, re.M))
    missing = [n for n in SOURCES.names() if n not in headings and n != "shapes128"]
    assert not missing, f"add a heading to docs/data.md for each of {missing}"
