"""`coco_seg:IMAGES,JSON`: masks from the outlines in COCO's json (Lin et al., 2014)."""

import pathlib
import unicodedata

import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.data.formats.classes.mask_classes import largest_hw
from hybrid_jax.data.formats.coco.images import CocoImages
from hybrid_jax.data.formats.coco.outlines import drawn
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError, UserError

_BACKGROUND = "background"
_TO_DO = "Correct it, or leave such images out with --config.data.on_bad_annotation=skip."


@SOURCES.register("coco_seg")
def open_coco_seg(location: str, *, split: str) -> "CocoSegSource":
    """Opens the folder and the json file of `location`, parted by a comma."""
    return CocoSegSource(location, split=split)


class CocoSegSource:
    """Images of any size with a class id for every pixel, 255 for void.

    Splits and categories are those of `CocoImages`. Class 0 is "background", what no
    outline holds; the categories are 1, 2, ... by ascending id. A category that is itself
    called "background" is class 0.

    Outlines are polygons or run lengths, compressed or not. They are drawn from the largest
    to the smallest, so that what lies on something else is seen; crowds are void.

    Args:
        location: `IMAGES,JSON`, the images' folder and the file.
        split: see `CocoImages`.

    Raises:
        UserError: as `CocoImages`; more than 255 classes; or no annotation has an outline.

    Attributes:
        first_fault: of the entries of the file that cannot be used; None if all can.
    """

    def __init__(self, location: str, *, split: str):
        self._images = CocoImages("coco_seg", location, split=split, outlines=True)
        table = self._images.table
        names, self._id_of = _classes(table.names)
        if len(names) > VOID:
            raise UserError(
                f"annotations {str(self._images.json)!r}: expected at most {VOID - 1} "
                f"categories besides the background, because masks hold bytes and "
                f"{VOID} is void, got {len(table.names)}."
            )
        if table.outlines and all(isinstance(one, str) for one in table.outlines):
            raise UserError(
                f"annotations {str(self._images.json)!r}: not one of {len(table.outlines)} "
                f"annotations has an outline; of the first, {table.outlines[0]}. For boxes "
                f"alone take coco= instead of coco_seg=."
            )
        files = map(self._images.path, range(len(table.file_names)))
        self.info = DatasetInfo(
            segmentation_names=names,
            largest_hw=self._images.largest_hw or largest_hw(files),
            notes=self._images.notes,
        )
        self.first_fault = self._images.first_fault

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        """Decodes one image and draws its mask.

        Raises:
            BadImageError: the file cannot be read; names it and the image's id.
            BadAnnotationError: it is not of the size that the json file says, its entry
                there lacks a key, or one of its annotations cannot be drawn.
        """
        image = self._images.read(read_image, index)
        return {"image": image, **self._mask(index, image.shape[:2])}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return self._images.path(index)

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        hw = self._images.read(image_hw, index)
        return {"original_hw": hw, **self._mask(index, hw)}

    def _mask(self, index: int, hw: tuple[int, int]) -> Example:
        self._images.check_size(index, hw)
        table, rows = self._images.table, self._images.rows(index)
        areas = []
        for row in range(rows.start, rows.stop):
            if table.outlines[row] is not None:
                where = self._area(row, index, hw)
                new = VOID if table.crowd[row] else self._id_of[table.labels[row]]
                areas.append((int(where.sum()), new, where))
        mask = np.zeros(hw, np.uint8)
        for _, new, where in sorted(areas, key=lambda area: -area[0]):
            mask[where] = new
        return {
            "segmentation": mask,
            "image_id": table.image_ids[index],
            "where": self._images.where(index),
        }

    def _area(self, row: int, index: int, hw: tuple[int, int]) -> np.ndarray:
        """Returns where the object of a row is, (H, W) bool."""
        table = self._images.table
        outline = table.outlines[row]
        try:
            if table.labels[row] < 0:
                raise ValueError("has a category_id that is not among the categories")
            if not outline or isinstance(outline, str):
                raise ValueError(f"cannot be drawn: {outline}")
            return drawn(outline, hw=hw)
        except ValueError as error:
            raise BadAnnotationError(
                f"annotations {self._images.where(index)}: the annotation of id "
                f"{table.ids[row]} {error}. {_TO_DO}"
            ) from error


def _classes(categories: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the names of classes, and the class of each category, (K,) int."""
    forms = [unicodedata.normalize("NFC", name.strip()).casefold() for name in categories]
    others = [k for k, form in enumerate(forms) if form != _BACKGROUND]
    id_of = np.zeros(len(categories), np.int64)
    id_of[others] = np.arange(1, len(others) + 1)
    return (_BACKGROUND, *(categories[k] for k in others)), id_of
