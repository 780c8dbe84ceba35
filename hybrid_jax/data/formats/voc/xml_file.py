"""PASCAL VOC's annotation of one image, an xml file with boxes."""

import math
import pathlib
import re
from xml.etree import ElementTree

import numpy as np

from hybrid_jax.contracts import Example
from hybrid_jax.data.formats.text_files import decoded
from hybrid_jax.errors import BadAnnotationError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc_xml(path: pathlib.Path) -> ElementTree.Element:
    """Returns the root element.

    Raises:
        BadAnnotationError: the file is missing or no xml; names it.
    """
    try:
        content = path.read_bytes()
        try:
            return ElementTree.fromstring(content)
        except (ElementTree.ParseError, ValueError, LookupError):
            return ElementTree.fromstring(_as_declared(content))
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadAnnotationError(
            f"annotations {str(path)!r} cannot be read: {error}. Every image of the split "
            f"needs such a file: correct it, or leave out images without one with "
            f"--config.data.on_bad_annotation=skip."
        ) from error


def _as_declared(content: bytes) -> str:
    """Returns the text of a file in an encoding that the parser itself does not know."""
    declared = re.match(rb"""\s*<\?xml[^>]*?encoding=["']([\w.:-]+)["'][^>]*\?>""", content)
    if declared is None:
        return decoded(content)
    return content[declared.end() :].decode(declared[1].decode("ascii"))


def names_in(root: ElementTree.Element) -> set[str]:
    """Returns the names of the objects."""
    return {name.strip() for o in root.iter("object") if (name := o.findtext("name"))}


def size_hw_in(root: ElementTree.Element) -> tuple[int, int]:
    """Returns (height, width) in px of the image as the file says, 0 where it does not."""
    height, width = (_number(root, f"size/{key}") for key in ("height", "width"))
    known = 0 < height < math.inf and 0 < width < math.inf
    return (int(height), int(width)) if known else (0, 0)


def objects_in(root: ElementTree.Element, names: tuple[str, ...]) -> Example:
    """Returns `boxes_xyxy_px`, `box_labels`, `box_crowd` (difficult) and `box_written`.

    VOC counts pixels from 1 and includes the last one, so a box is (xmin - 1, ymin - 1,
    xmax, ymax) in px. Where both corners are the same as written, the box has no area: a
    slip of the mouse, not an object of one pixel. Fractions are kept. A missing number is
    NaN, an unknown name the label -1; the names as they are written come beside.

    Args:
        names: of the classes, in the order of their labels.
    """
    objects = list(root.iter("object"))
    label_of = {name: label for label, name in enumerate(names)}
    corners = [[_number(o, f"bndbox/{key}") for key in _CORNERS] for o in objects]
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(-1, keepdims=True)
    boxes[:, :2] -= has_area
    written = [(o.findtext("name") or "").strip() for o in objects]
    labels = [label_of.get(name, -1) for name in written]
    return {
        "boxes_xyxy_px": boxes,
        "box_labels": np.array(labels, np.int32),
        "box_written": np.array(written, str),
        # Neither trained on nor scored, as crowds are not.
        "box_crowd": np.array([_number(o, "difficult") == 1 for o in objects], bool),
    }


def _number(element: ElementTree.Element, path: str) -> float:
    try:
        return float(element.findtext(path, "nan"))
    except ValueError:
        return math.nan
