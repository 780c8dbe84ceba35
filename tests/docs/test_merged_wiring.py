"""Merging keeps every connection that says something, and lines apart."""

import itertools

import fusion_diagrams
import pytest
import wiring_layout
import wiring_text
from merged_wiring import merged
from traced_wiring import IMAGE, Unit, Wiring

from hybrid_jax.models.fusions import FUSIONS


def small(edges, *, outputs):
    """A wiring of blocks (b, number) and other units (name,), as a trace gives it."""
    paths = dict.fromkeys(p for edge in edges for p in edge if p != IMAGE)
    units = {p: Unit((p,), "fusion", p[:1], p[0]) for p in paths}
    outputs = dict(pooled=frozenset(outputs))
    return Wiring(units, frozenset(edges), outputs, dict(pooled=8), (32, 32))


A, B, C = (("b", number) for number in range(3))


def test_blocks_in_a_row_are_one():
    drawn = merged(small([(IMAGE, A), (A, B), (B, C)], outputs=[C]))
    assert [unit.paths for unit in drawn.units.values()] == [(A, B, C)]
    assert drawn.edges == {(IMAGE, A)}
    assert drawn.outputs == dict(pooled={A})


@pytest.mark.parametrize(
    ("more", "outputs"),
    [
        ([(IMAGE, ("other",)), (("other",), B)], [B]),  # B reads more than A does
        ([(A, ("other",)), (("other",), B)], [B]),  # A is read by others too
        ([], [A, B]),  # so does the head
    ],
)
def test_blocks_that_something_lies_between_stay_apart(more, outputs):
    drawn = merged(small([(IMAGE, A), (A, B), *more], outputs=outputs))
    assert {A, B} <= set(drawn.units)


def test_units_that_read_one_another_are_one_before_what_reads_them():
    edges = [(IMAGE, A), (A, ("attention",)), (("attention",), A), (A, B)]
    drawn = merged(small(edges, outputs=[B]))
    assert ("attention",) not in drawn.units or A not in drawn.units
    (path, *_) = drawn.units
    assert drawn.units[path].notes


def test_what_sees_no_image_and_serves_one_unit_is_told_there():
    texts = wiring_text.box_texts(fusion_diagrams.wiring_of("stage_swap"))
    assert [text.name for text in texts.values()].count(("blocks 1–2",)) == 1
    (text,) = [text for text in texts.values() if text.name == ("blocks 1–2",)]
    assert text.small == ("197 tokens · 768", "with relative", "bias")
    names = [" ".join(text.name) for text in texts.values()]
    assert "relative bias" not in names


@pytest.mark.parametrize("name", FUSIONS.names())
def test_lines_from_two_boxes_do_not_lie_on_one_another(name):
    drawn = fusion_diagrams.wiring_of(name)
    layout = wiring_layout.laid_out(drawn, wiring_text.box_texts(drawn))
    upright = [
        (source, a[0], *sorted((a[1], b[1])))
        for (source, _), corners in layout.lines.items()
        for a, b in itertools.pairwise(corners)
        if a[0] == b[0]
    ]
    for (one, x, top, bottom), (two, at, low, high) in itertools.combinations(upright, 2):
        if one != two and abs(x - at) < 2:
            assert bottom <= low or high <= top, (one, two)
