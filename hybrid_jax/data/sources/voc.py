"""`voc:ROOT`: boxes in the xml format of PASCAL VOC (Everingham et al., 2010)."""

import pathlib

from hybrid_jax.contracts import DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location
from hybrid_jax.data.formats.classes.class_list import BACKGROUND, listed_classes
from hybrid_jax.data.formats.classes.class_names import alike_note
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.formats.voc.folders import CLASSES, VocFolders
from hybrid_jax.data.formats.voc.xml_file import (
    names_in,
    objects_in,
    read_voc_xml,
    size_hw_in,
)
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError


@SOURCES.register("voc")
def open_voc(location: str, *, split: str) -> "VocSource":
    """Opens the boxes in the folder `location`."""
    check_location("voc", location=location, example="/data/VOCdevkit/VOC2012")
    return VocSource(location, split=split)


class VocSource:
    """Images of any size with boxes, one xml file each.

    Read are `JPEGImages/ID.jpg` (or png, ...), `Annotations/ID.xml` and the list of the
    split (see `VocFolders`). Examples hold `boxes_xyxy_px` (see `objects_in` for their
    corners), `box_labels`, `box_crowd` for difficult objects, and `image_id`, the ID.

    The classes are those of `classes.txt` in the folder, one a line, if there is one; else
    VOC's 20 if the train split names no other; else those it names, in alphabetical order:
    a slip of the pen is a class of its own then. To know them and the largest image, the
    xml files are read when the source is opened; one that cannot be read is an error only
    to those who ask for its example.

    Args:
        location: the folder.
        split: "train", "validation", "test", or the name of another list.

    Raises:
        UserError: no such folder or split, or not one readable xml file in it.

    Attributes:
        first_fault: the error of the first xml file that cannot be read; None without.
    """

    def __init__(self, location: str, *, split: str):
        self._folders = VocFolders(
            f"voc:{location}",
            location,
            lists="Main",
            annotated="Annotations",
            ending=".xml",
        )
        self._ids = self._folders.ids(split)
        trained = self._folders.ids("train")
        self.first_fault: BadAnnotationError | None = None
        facts = {}  # id -> (names, size); the elements of all files would fill the memory
        for image_id in dict.fromkeys([*trained, *self._ids]):
            try:
                root = self._xml(image_id)
            except BadAnnotationError as error:
                # A new one: the old one's traceback would keep all that is read here.
                self.first_fault = self.first_fault or BadAnnotationError(str(error))
                continue
            facts[image_id] = names_in(root), size_hw_in(root)
        sizes = [facts[image_id][1] for image_id in self._ids if image_id in facts]
        if self.first_fault and not (sizes and facts.keys() & set(trained)):
            raise self.first_fault  # of every example: another folder is meant
        named = set().union(*(facts[i][0] for i in trained if i in facts))
        names = listed_classes(self._folders.root)
        names = None if names is None else tuple(n for n in names if n != BACKGROUND)
        if names is None:
            names = CLASSES if named <= set(CLASSES) else tuple(sorted(named))
        largest_hw = None
        if all(height for height, _ in sizes):  # every file says how large its image is
            largest_hw = max(h for h, _ in sizes), max(w for _, w in sizes)
        notes = tuple(filter(None, [*self._folders.notes(split), alike_note(names)]))
        self.info = DatasetInfo(box_names=names, largest_hw=largest_hw, notes=notes)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Example:
        """Decodes one image.

        Raises:
            BadImageError: its file cannot be read.
            BadAnnotationError: its xml file cannot be read, or says another size.
        """
        image = read_image(self._folders.image(self._ids[index]))
        return {"image": image, **self._objects(index, image.shape[:2])}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return self._folders.image(self._ids[index])

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        hw = image_hw(self._folders.image(self._ids[index]))
        return {"original_hw": hw, **self._objects(index, hw)}

    def _xml(self, image_id: str):
        return read_voc_xml(self._folders.annotation(image_id))

    def _objects(self, index: int, hw: tuple[int, int]) -> Example:
        image_id = self._ids[index]
        where = str(self._folders.annotation(image_id))
        root = self._xml(image_id)
        said = size_hw_in(root)
        if all(said) and said != tuple(hw):
            raise BadAnnotationError(
                f"annotations {where!r}: the image is said to be {said[0]}x{said[1]} px, "
                f"but {self._folders.image(image_id)}, turned upright as its EXIF data "
                f"says, is {hw[0]}x{hw[1]} px (height x width). Its boxes would be off: "
                f"correct the file, take out <size> if the boxes are right, or leave such "
                f"images out with --config.data.on_bad_annotation=skip."
            )
        objects = objects_in(root, self.info.box_names)
        return {**objects, "image_id": image_id, "where": where}
