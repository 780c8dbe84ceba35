"""The pictures in the pages are there, are small, and say what they show."""

import re
from xml.etree import ElementTree

import documents
import pytest
from PIL import Image

BYTES_AT_MOST = 150_000
PICTURES = [
    pytest.param(documents.ROOT / page, alt, target, id=target)
    for page, text in documents.PAGES.items()
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text, re.S)
]


def test_every_file_is_shown():
    shown = {page.parent / target for page, _, target in (p.values for p in PICTURES)}
    pictures = {*(documents.ROOT / "docs/images").iterdir()}
    assert shown == pictures | {*(documents.ROOT / "docs/results").rglob("*.svg")}


@pytest.mark.parametrize(("page", "alt", "target"), PICTURES)
def test_picture(page, alt, target):
    path = page.parent / target
    assert path.stat().st_size <= BYTES_AT_MOST
    assert len(alt.split()) >= 8, "tell those who cannot see it what is there"
    if path.suffix == ".svg":
        assert ElementTree.parse(path).getroot().tag.endswith("}svg")
        return
    with Image.open(path) as picture:
        picture.verify()
