"""Pictures of examples with what is known of them."""

import numpy as np
import pytest

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.tasks import drawn_truth


@pytest.mark.parametrize(("label", "line"), [(1, "dog"), (2, "2"), (-1, "-1")])
def test_label_without_a_name_is_drawn_as_its_number(label, line, monkeypatch):
    lines = []
    monkeypatch.setattr(drawn_truth, "draw_lines", lambda image, of: lines.extend(of))
    example = {"image": np.zeros((4, 6, 3), np.uint8), "label": label}
    info = DatasetInfo(2, class_names=("cat", "dog"))
    drawn_truth.draw_truth(example, info, target="label", side_px=12)
    assert lines == [line]
