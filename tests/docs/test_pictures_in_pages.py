"""The pictures in the pages are there, are small, and say what they show."""

import re

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
    assert shown == set((documents.ROOT / "docs/images").iterdir())


@pytest.mark.parametrize(("page", "alt", "target"), PICTURES)
def test_picture(page, alt, target):
    path = page.parent / target
    assert path.stat().st_size <= BYTES_AT_MOST
    assert len(alt.split()) >= 8, "tell those who cannot see it what is there"
    with Image.open(path) as picture:
        picture.verify()
