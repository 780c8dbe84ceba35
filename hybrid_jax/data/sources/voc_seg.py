"""`voc_seg:ROOT`: masks in the layout of PASCAL VOC (Everingham et al., 2010)."""

import pathlib

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location
from hybrid_jax.data.formats.classes.class_list import listed_classes
from hybrid_jax.data.formats.classes.mask_classes import largest_hw
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image, read_mask
from hybrid_jax.data.formats.voc.folders import CLASSES, VocFolders
from hybrid_jax.data.sources import SOURCES


@SOURCES.register("voc_seg")
def open_voc_seg(location: str, *, split: str) -> "VocSegSource":
    """Opens the masks in the folder `location`."""
    check_location("voc_seg", location=location, example="/data/VOCdevkit/VOC2012")
    return VocSegSource(location, split=split)


class VocSegSource:
    """Images of any size with a class id for every pixel, 255 for void.

    Read are `JPEGImages/ID.jpg` (or png, ...), `SegmentationClass/ID.png` (or, of labelme,
    `SegmentationClassPNG/ID.png`), whose palette indices are the ids, and the list of the
    split in `ImageSets/Segmentation` (see `VocFolders`). The
    classes are those of `classes.txt` in the folder, one a line from id 0 on, or else
    background and VOC's 20.

    Args:
        location: the folder.
        split: "train", "validation", "test", or the name of another list.

    Raises:
        UserError: no such folder or split.
    """

    def __init__(self, location: str, *, split: str):
        folders = VocFolders(
            f"voc_seg:{location}",
            location,
            lists="Segmentation",
            annotated=_mask_folder(location),
            ending=".png",
        )
        self._folders, self._ids = folders, folders.ids(split)
        names = listed_classes(folders.root, most=VOID)
        names = names or ("background", *CLASSES)
        images = map(folders.image, folders.all_ids().union(self._ids))
        self.info = DatasetInfo(
            segmentation_names=names,
            largest_hw=largest_hw(images),
            notes=folders.notes(split),
        )

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Example:
        """Decodes an image and its mask.

        Raises:
            BadImageError: one of the files cannot be read.
            BadAnnotationError: the mask holds colors instead of ids.
        """
        image = read_image(self._folders.image(self._ids[index]))
        return {"image": image, **self._mask(index)}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return self._folders.image(self._ids[index])

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        hw = image_hw(self._folders.image(self._ids[index]))
        return {"original_hw": hw, **self._mask(index)}

    def _mask(self, index: int) -> Example:
        image_id = self._ids[index]
        path = self._folders.annotation(image_id)
        return {
            "segmentation": read_mask(path),
            "image_id": image_id,
            "where": str(path),
        }


def _mask_folder(location: str) -> str:
    """Returns the folder of the masks; labelme keeps arrays in that of VOC."""
    root = pathlib.Path(location).expanduser()
    has_png = any((root / "SegmentationClass").glob("*.[pP][nN][gG]"))
    other = "SegmentationClassPNG"
    return other if not has_png and (root / other).is_dir() else "SegmentationClass"
