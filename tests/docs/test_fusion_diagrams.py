"""The drawing of every fusion says what the fusion does, and its texts fit their boxes."""

import functools
import pathlib
from xml.etree import ElementTree

import documents
import fusion_diagrams
import matplotlib
import pytest
import wiring_layout
import wiring_text
from merged_wiring import readings
from PIL import ImageFont
from traced_wiring import IMAGE

from hybrid_jax.models.fusions import FUSIONS

FONTS = pathlib.Path(matplotlib.get_data_path()) / "fonts/ttf"
SVG = "{http://www.w3.org/2000/svg}"


@functools.cache
def wiring(name):
    return fusion_diagrams.wiring_of(name)


def of_every_fusion(function):
    return pytest.mark.parametrize("name", FUSIONS.names())(function)


def told(name):
    return fusion_diagrams.told(wiring(name))


@of_every_fusion
def test_outputs_are_those_of_the_fusion_and_come_from_the_image(name):
    fusion = fusion_diagrams.fusion_of(name)
    drawn = wiring(name)
    pooled = dict(pooled=fusion.width)
    assert drawn.channels == {str(s): c for s, c in fusion.channels.items()} | pooled
    order = [IMAGE, *drawn.units]
    for path in drawn.units:
        assert all(order.index(p) < order.index(path) for p in readings(drawn, path))
    for sources in drawn.outputs.values():
        found = set(sources)
        while more := set().union(*(readings(drawn, p) for p in found)) - found - {IMAGE}:
            found |= more
        assert any(IMAGE in readings(drawn, path) for path in found)


@of_every_fusion
def test_every_part_of_the_fusion_is_in_a_box_that_is_read(name):
    drawn = wiring(name)
    read = {a for a, _ in drawn.edges} | set().union(*drawn.outputs.values())
    assert set(drawn.units) <= read, "a box that nothing reads"
    parts = {unit.part for unit in drawn.units.values()} - {"fusion"}
    assert parts == set(FUSIONS.get(name).parts)


@of_every_fusion
def test_boxes_do_not_overlap_and_lines_do_not_cross_boxes(name):
    drawn = wiring(name)
    layout = wiring_layout.laid_out(drawn, wiring_text.box_texts(drawn))
    places = list(layout.places.values())
    for number, a in enumerate(places):
        assert a.x >= 0
        assert a.x + a.width <= wiring_layout.WIDTH
        for b in places[number + 1 :]:
            beside = a.x + a.width <= b.x or b.x + b.width <= a.x
            assert beside or a.bottom < b.y or b.bottom < a.y
    for corners in layout.lines.values():
        for (x0, y0), (x1, y1) in zip(corners[:-1], corners[1:], strict=True):
            assert min(x0, x1) >= 0
            for box in places:
                inside = min(x0, x1) < box.x + box.width and max(x0, x1) > box.x
                assert not (inside and min(y0, y1) < box.bottom and max(y0, y1) > box.y)


@of_every_fusion
def test_texts_fit_into_their_boxes(name):
    svg = ElementTree.fromstring(fusion_diagrams.diagram(name, alone=True))
    assert svg.find(f"{SVG}title").text == f"Wiring of {name}"
    for group in svg.iter(f"{SVG}g"):
        width = float(group.find(f"{SVG}rect").get("width"))
        for text in group.iter(f"{SVG}text"):
            assert _width_px(text) <= width - 2, text.text


def _width_px(text):
    face = "DejaVuSans-Bold.ttf" if text.get("font-weight") else "DejaVuSans.ttf"
    font = ImageFont.truetype(str(FONTS / face), 100)  # wider than most fonts
    return font.getlength(text.text) * float(text.get("font-size")) / 100


# What the docstrings of the fusions say, in the words of the drawing.
@pytest.mark.parametrize(
    ("name", "facts"),
    {
        "sequential": ("patches reads stage 3;", "stride 16 comes from blocks 1–4;"),
        "conv_stem": ("patches reads stem;", "stride 4 comes from stem;"),
        "late_concat": (
            "blocks 1–4 reads patches;",
            "stage 2 reads stage 1;",
            "map of stride 8 comes from blocks 1–4 and stage 2;",
        ),
        "conformer": ("block 2 reads block 1, down;", "stage 2 reads stage 1, up;"),
        "cross_attention": ("exchange reads stage 2, block 2;", "block 2 reads exchange;"),
        "mobile_former": (
            "read reads stem, learned tokens;",
            "write reads stage 1, block 1;",
        ),
        "sta": ("join reads blocks 1–2, stage 2;", "block 3 reads blocks 1–2;"),
        "fpn_tokens": ("FPN reads stage 2, stage 3, stage 4;", "patches reads FPN;"),
        "vit_adapter": ("block 1 reads patches, injector;", "pooled comes from block 4."),
        "rtdetr_encoder": ("patches reads stage 4;", "stride 4 comes from stage 1;"),
        "simple_fpn": ("level reads blocks 1–4;", "stride 8 comes from level;"),
        "botnet": ("stage 4 reads stage 3;", "pooled comes from stage 4."),
    }.items(),
)
def test_connections_are_those_of_the_formula(name, facts):
    for fact in facts:
        assert fact in told(name)


def test_branches_without_exchange_have_no_line_between_them():
    drawn = wiring("late_concat")
    pairs = {
        (drawn.units[a].part, drawn.units[b].part) for a, b in drawn.edges if a != IMAGE
    }
    assert pairs == {("resnet", "resnet"), ("vit", "vit")}


def test_attention_inside_a_stage_is_told_in_its_box():
    text = wiring_text.box_texts(wiring("botnet"))[("resnet", "stages", 3, "blocks", 0)]
    assert text.small == ("stride 32 · 2048", "with relative", "attention")
    assert text.outputs == (("32", "pooled"),)


def test_fusion_of_ones_own_is_drawn_without_a_word_about_it(monkeypatch):
    python = documents.blocks(documents.PAGES["CONTRIBUTING.md"], "python")
    (source,) = [block for block in python if "class MyFusion" in block]
    monkeypatch.setattr(FUSIONS, "_entries", dict(FUSIONS._entries))
    exec(source, dict(__name__="my_fusion"))
    text = fusion_diagrams.told(fusion_diagrams.wiring_of("my_fusion"))
    assert "map of stride 8 comes from stage 2; " in text
    assert "map of stride 16 comes from blocks 1–4; " in text
    assert "pooled comes from blocks 1–4 and stage 4." in text


def test_picture_of_the_readme_is_the_drawing():
    picture = documents.ROOT / "docs/images/cross_attention.svg"
    drawn = fusion_diagrams.diagram("cross_attention", alone=True)
    assert picture.read_text() == drawn, "python docs/fusion_diagrams.py writes it again"
