"""Bars beside an image: as long as the shares, with names that can be read."""

import numpy as np
import pytest

from hybrid_jax.tasks.bar_panel import draw_bars
from hybrid_jax.tasks.lettering import font_for, shortened

BLUE = (0, 114, 178)


@pytest.mark.parametrize("hw", [(240, 320), (100, 900), (2160, 3840)])
def test_bars_are_as_long_as_the_shares_and_the_image_stays(hw):
    image = np.random.default_rng(0).integers(0, 99, (*hw, 3), np.uint8)
    drawn = draw_bars(image, names=["ant", "bee", "wasp"], shares=[0.8, 0.2, 0.0])
    assert (drawn[: hw[0], : hw[1]] == image).all()
    panel = drawn[:, hw[1] :]
    lengths = (panel == BLUE).all(-1).sum(1)
    lengths = sorted(set(lengths[lengths > 0].tolist()))
    assert len(lengths) == 2
    assert lengths[1] / lengths[0] == pytest.approx(4.0, rel=0.05)
    assert not (panel[: panel.shape[0] // 4] == 255).all()


@pytest.mark.parametrize(("longer", "size"), [(64, 14), (320, 14), (3840, 76), (9000, 96)])
def test_letters_grow_with_the_image(longer, size):
    assert font_for(np.zeros((9, longer, 3), np.uint8)).size == size


def test_long_names_are_cut_and_short_ones_are_not():
    font = font_for(np.zeros((9, 9, 3), np.uint8))
    assert shortened("ant", font=font, width_px=100) == "ant"
    cut = shortened("Myrmecophaga tridactyla", font=font, width_px=100)
    assert cut.endswith("...")
    assert 60 < font.getlength(cut) <= 100
    wide = draw_bars(np.zeros((300, 300, 3), np.uint8), names=["w" * 400], shares=[1.0])
    narrow = draw_bars(np.zeros((300, 300, 3), np.uint8), names=["w"], shares=[1.0])
    assert wide.shape == narrow.shape
