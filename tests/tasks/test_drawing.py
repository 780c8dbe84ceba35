"""Pixels of what is drawn: where there is color, and where there must be none."""

import numpy as np
import pytest

from hybrid_jax.tasks.drawing import (
    class_shares,
    draw_annotated_boxes,
    draw_boxes,
    draw_lines,
    draw_segmentation,
    palette,
)

NAMES = ("circle", "star", "square")


def gray(height=300, width=400):
    return np.full((height, width, 3), 100, np.uint8)


def boxes(image, *rows, labels=None, scores=None, **options):
    return draw_boxes(
        image,
        np.array(rows, np.float32).reshape(-1, 4),
        labels=np.arange(len(rows)) if labels is None else np.array(labels),
        scores=np.ones(len(rows)) if scores is None else np.array(scores),
        names=NAMES,
        **options,
    )


def test_edges_of_a_box_have_its_color_and_nothing_else_changes():
    drawn = boxes(gray(), (50, 100, 200, 250))
    color = palette(3)[0]
    for y, x in [(100, 150), (249, 150), (200, 50), (200, 199), (249, 199)]:
        assert (drawn[y, x] == color).all(), (y, x)
    changed = (drawn != 100).any(-1)
    assert not changed[104:246, 54:196].any()  # inside
    changed[70:250, 50:200] = False  # the box, and the name above it
    assert not changed.any()


def test_name_is_written_above_the_box_or_inside_where_there_is_no_room():
    def inked(drawn, box):
        region = drawn[box]
        on_color = (region == palette(3)[1]).all(-1)
        return on_color.mean() > 0.1 and not on_color.all() and (region != 100).any(-1)

    above = boxes(gray(), (50, 100, 200, 250), labels=[1])
    assert np.all(inked(above, np.s_[90:98, 52:70]))
    inside = boxes(gray(), (50, 0, 200, 250), labels=[1])
    assert np.all(inked(inside, np.s_[4:10, 54:70]))


def test_classes_have_colors_of_their_own():
    drawn = boxes(gray(), (20, 100, 80, 150), (200, 100, 280, 150))
    assert (drawn[149, 50] == palette(3)[0]).all()
    assert (drawn[149, 250] == palette(3)[1]).all()
    colors = palette(255).astype(int)
    apart = np.abs(colors[:, None] - colors).max(-1) + 255 * np.eye(255, dtype=int)
    assert apart.min() >= 25
    assert (palette(7) == palette(255)[:7]).all()


def test_best_box_is_on_top_and_doubtful_ones_are_left_out():
    rows = (50, 100, 200, 250), (50, 100, 200, 250), (250, 20, 300, 60)
    drawn = boxes(gray(), *rows, scores=[0.9, 0.8, 0.2])
    assert (drawn[249, 100] == palette(3)[0]).all()
    assert (drawn[:, 250:] == 100).all()
    drawn = boxes(gray(), *rows, scores=[0.9, 0.8, 0.2], least_score=0.1)
    assert (drawn[59, 275] == palette(3)[2]).all()


@pytest.mark.parametrize(("side", "factor"), [(16, 16), (100, 3), (255, 2), (256, 1)])
def test_small_images_are_enlarged_by_whole_numbers(side, factor):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (side // 2, side, 3), np.uint8)
    assert (boxes(image) == image.repeat(factor, 0).repeat(factor, 1)).all()
    drawn = boxes(image, (2, 2, side - 1, side // 2 - 1))
    corner = drawn[(side // 2 - 1) * factor - 1, (side - 1) * factor - 1]
    assert (corner == palette(3)[0]).all()
    assert (drawn[-1, -1] == image[-1, -1]).all()


def test_boxes_at_and_beyond_the_border_are_drawn():
    image = gray()
    drawn = boxes(image, (-20, -20, 500, 400), (0, 0, 0.2, 0.2), (399.9, 299.9, 400, 300))
    assert drawn.shape == image.shape
    assert (drawn != image).any()


def test_segmentation_is_blended_outlined_and_void_stays():
    image, classes = gray(), np.zeros((300, 400), np.uint8)
    classes[100:200, 150:250] = 2
    classes[:20] = 255
    drawn = draw_segmentation(image, classes, names=NAMES)
    colors = palette(3).astype(float)
    assert (drawn[250, 30] == np.rint((100 + colors[0]) / 2)).all()
    assert (drawn[150, 200] == np.rint((100 + colors[2]) / 2)).all()
    assert (drawn[150, 249] == colors[2]).all()  # the last column of the square
    assert (drawn[99, 200] == colors[0]).all()  # the row above it
    assert (drawn[:20] == 100).all()


def test_background_stays_and_has_no_swatch():
    classes = np.zeros((300, 400), np.uint8)
    classes[100:200, 150:250] = 1
    drawn = draw_segmentation(gray(), classes, names=("background", "cell"))
    outside = np.ones(classes.shape, bool)
    outside[100:200, 150:250] = False
    assert (drawn[:300][outside] == 100).all()
    assert (drawn[150, 200] == np.rint((100 + palette(2)[1].astype(float)) / 2)).all()
    legend = drawn[300:]
    assert not (legend == palette(1)[0]).all(-1).any()
    assert (legend == palette(2)[1]).all(-1).any()


def test_legend_has_the_classes_there_are_the_largest_first():
    classes = np.zeros((300, 400), np.uint8)
    classes[100:290] = 2
    drawn = draw_segmentation(gray(), classes, names=NAMES)
    legend = drawn[300:]
    pitch = len(legend) // 2
    assert (legend[pitch // 2, 10] == palette(3)[2]).all()
    assert (legend[pitch + pitch // 2, 10] == palette(3)[0]).all()
    assert (legend == 255).mean() > 0.5
    assert (legend.reshape(2, pitch, 400, 3)[:, :, 60:] == 0).any((1, 2, 3)).all()


def test_shares_leave_void_out():
    classes = np.array([[0, 0, 0, 2], [255, 255, 255, 255]], np.uint8)
    assert class_shares(classes, 3).tolist() == [0.75, 0.0, 0.25]
    assert class_shares(np.full((2, 2), 255, np.uint8), 3).tolist() == [0.0, 0.0, 0.0]


def test_lines_are_below_the_image():
    image = gray(256, 256)
    drawn = draw_lines(image, ["tabby 93.1 %", "tiger 2.0 %"])
    assert (drawn[:256] == image).all()
    rows = drawn[256:].reshape(2, -1, 256, 3)
    assert (rows == 0).any((1, 2, 3)).all()
    assert (draw_lines(image, []) == image).all()


def test_known_boxes_have_names_if_they_are_few_and_counts_below():
    image = np.zeros((400, 400, 3), np.uint8)
    few = np.float32([[100, 200, 300, 350]] * 2)
    options = dict(labels=np.array([1, 1]), names=("ant", "bee"))
    drawn = draw_annotated_boxes(image, few, **options)
    color = palette(2)[1]
    assert (drawn[200, 180:299] == color).all()  # the upper edge, beyond the name
    assert (drawn[190:199, 102:106] == color).any()  # the name's own ground
    many = np.repeat(few, 10, axis=0)
    options["labels"] = np.ones(20, int)
    crowded = draw_annotated_boxes(image, many, **options)
    assert not crowded[185:199].any()
    assert (crowded[400:] == color).all(-1).sum() > 20  # the legend's patch
    none = draw_annotated_boxes(image, few[:0], labels=np.array([], int), names=())
    assert not none[:400].any()


def test_class_may_be_left_without_color():
    image = np.full((300, 300, 3), 50, np.uint8)
    ids = np.zeros((300, 300), np.uint8)
    ids[:100] = 1
    plain = draw_segmentation(image, ids, names=("x", "y"), uncolored=0)
    assert (plain[150:290] == 50).all()
    assert not (plain[10:90] == 50).all(-1).any()
