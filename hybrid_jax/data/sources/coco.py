"""`coco:IMAGES,JSON`: boxes in the json format of COCO (Lin et al., 2014)."""

import pathlib

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.formats.coco.images import CocoImages
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.sources import SOURCES


@SOURCES.register("coco")
def open_coco(location: str, *, split: str) -> "CocoSource":
    """Opens the folder and the json file of `location`, parted by a comma."""
    return CocoSource(location, split=split)


class CocoSource:
    """Images of any size with boxes; those without objects are there too.

    Splits and categories are those of `CocoImages`.

    Examples hold `boxes_xyxy_px`, `box_labels` (the ids in the split's own file are
    `info.box_category_ids`), `box_crowd` (from `iscrowd`), `box_ids`, `box_areas_px` and
    `image_id`. Outlines, as polygons or run lengths, are read over. The file is read once;
    images are looked for when they are asked for.

    Args:
        location: `IMAGES,JSON`, the images' folder and the file.
        split: see `CocoImages`.

    Raises:
        UserError: as `CocoImages`.

    Attributes:
        first_fault: of the entries of the file that cannot be used; None if all can.
    """

    def __init__(self, location: str, *, split: str):
        self._images = CocoImages("coco", location, split=split, outlines=False)
        self.info = DatasetInfo(
            box_names=self._images.table.names,
            box_category_ids=self._images.table.category_ids,
            largest_hw=self._images.largest_hw,
            notes=self._images.notes,
        )
        self.first_fault = self._images.first_fault

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        """Decodes one image.

        Raises:
            BadImageError: the file cannot be read; names it and the image's id.
            BadAnnotationError: it is not of the size that the json file says, or its entry
                there lacks a key.
        """
        image = self._images.read(read_image, index)
        return {"image": image, **self._boxes(index, image.shape[:2])}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return self._images.path(index)

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        hw = self._images.read(image_hw, index)
        return {"original_hw": hw, **self._boxes(index, hw)}

    def _boxes(self, index: int, hw: tuple[int, int]) -> Example:
        self._images.check_size(index, hw)
        table, rows = self._images.table, self._images.rows(index)
        return {
            "boxes_xyxy_px": table.boxes_xyxy_px[rows],
            "box_labels": table.labels[rows],
            "box_crowd": table.crowd[rows],
            "box_ids": table.ids[rows],
            "box_areas_px": table.areas_px[rows],
            "image_id": table.image_ids[index],
            "where": self._images.where(index),
        }
