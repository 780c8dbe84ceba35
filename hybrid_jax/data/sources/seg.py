"""`seg:IMAGES,MASKS`: images in one folder, masks of the same names in another."""

import itertools
import pathlib
import unicodedata

import numpy as np

from hybrid_jax.contracts import VOID, DatasetInfo, Example
from hybrid_jax.data.checks.source_checks import check_location, check_split
from hybrid_jax.data.formats.classes.class_list import listed_classes
from hybrid_jax.data.formats.classes.mask_classes import (
    BINARY_NOTE,
    are_binary,
    ids_in,
    largest_hw,
    numbered_classes,
    unseen_ids_note,
)
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image, read_mask
from hybrid_jax.data.formats.image_files import EXTENSIONS, files_below
from hybrid_jax.data.formats.paired_folders import PairedFolders, paired_folders
from hybrid_jax.data.formats.splits import (
    USUAL_NAMES,
    held_out,
    held_out_note,
    share_of,
    shared_out_note,
    split_called,
    usual_names,
)
from hybrid_jax.data.sources import SOURCES
from hybrid_jax.errors import BadAnnotationError, UserError

_EXAMPLE = "/data/ade20k/images,/data/ade20k/annotations"
_MASK_EXTENSIONS = (".png", ".bmp", ".tif", ".tiff", ".gif")  # none of them loses anything

_Pairs = dict[str, tuple[pathlib.Path, pathlib.Path | None]]


@SOURCES.register("seg")
def open_seg(location: str, *, split: str) -> "SegSource":
    """Opens the two folders of `location`, parted by a comma."""
    check_location("seg", location=location, example=_EXAMPLE)
    return SegSource(location, split=split)


class SegSource:
    """Images of any size with a class id for every pixel, 255 for void.

    An image and its mask have the same path below their folders but for the extension.
    Names that differ are given as patterns, where `*` is what they share:
    `/data/leftImg8bit/{split}/*_leftImg8bit.png,/data/gtFine/{split}/*_gtFine_labelIds.png`.

    Splits are what `{split}` in both paths stands for, or the sub-folders of both folders
    (train or training; validation, valid, val or dev; test or testing). If there is none
    for validation, a tenth of training is held out. Without any of these, a tenth of the
    images is the test split, another tenth validation, chosen by a hash of their names.

    Masks are gray or palette files of ids, read as they are. The classes are those of a
    `classes.txt` in or beside the folder of the masks, a name a line from id 0 on; without
    it, "0", "1", ... up to the largest id in the masks of the train split, all of which are
    read. If those hold 0 and 255 alone, 255 is the class 1.

    Args:
        location: `IMAGES,MASKS`.
        split: see above.

    Raises:
        UserError: a missing folder or split, or not one image with a mask.

    Attributes:
        first_fault: that images of the split have no mask; None if all have one.
        mask_ids: the ids in the masks of training, if they were read; None otherwise.
    """

    def __init__(self, location: str, *, split: str):
        places = _by_folders(paired_folders("seg", location, example=_EXAMPLE))
        self._places, self._split = places, split
        self._pairs = list(_pairs(places, split).items())
        missing = [image for _, (image, mask) in self._pairs if mask is None]
        self.first_fault: BadAnnotationError | None = None
        if missing:
            self.first_fault = self._without_mask(missing, of=len(self._pairs))
        names = _listed(places)
        # Of two classes, 255 may be the second.
        self.mask_ids = _trained_ids(places) if names is None or len(names) == 2 else None
        self.has_binary_masks = self.mask_ids is not None and are_binary(self.mask_ids)
        notes = _notes(places, split)
        if self.has_binary_masks:
            self.mask_ids = frozenset({0, 1})
            notes += (BINARY_NOTE,)
        if names is None:
            assert self.mask_ids is not None  # read above where no list names the classes
            names = numbered_classes(self.mask_ids)
            notes += unseen_ids_note(self.mask_ids)
        images = _all_images(places) | {image for _, (image, _) in self._pairs}
        self.info = DatasetInfo(
            segmentation_names=names,
            largest_hw=largest_hw(images),
            notes=notes,
        )

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Example:
        """Decodes an image and its mask; `image_id` is what their names share.

        Raises:
            BadImageError: one of the files cannot be read.
            BadAnnotationError: there is no mask, or it holds colors instead of ids.
        """
        _, (image, _) = self._pairs[index]
        return {"image": read_image(image), **self._mask(index)}

    def image_file(self, index: int) -> pathlib.Path:
        """Returns the file that `image` is decoded from."""
        return self._pairs[index][1][0]

    def annotations(self, index: int) -> Example:
        """Returns the same without `image`, from its header; raises the same."""
        _, (image, _) = self._pairs[index]
        return {"original_hw": image_hw(image), **self._mask(index)}

    def _mask(self, index: int) -> Example:
        image_id, (image, mask) = self._pairs[index]
        if mask is None:
            raise self._without_mask([image], of=1)
        ids = read_mask(mask)
        if self.has_binary_masks:
            ids = np.where(ids == VOID, np.uint8(1), ids)
        return {"segmentation": ids, "image_id": image_id, "where": str(mask)}

    def _without_mask(self, images: list[pathlib.Path], *, of: int) -> BadAnnotationError:
        return BadAnnotationError(
            f"{_no_masks(self._places, self._split, images, of=of)} Or leave such images "
            f"out with --config.data.on_bad_annotation=skip."
        )


def _no_masks(
    places: PairedFolders, split: str, images: list[pathlib.Path], *, of: int
) -> str:
    return (
        f"data {places.name!r}: {len(images)} of {of} images have no mask "
        f"({' '.join(_MASK_EXTENSIONS)}) of the same name in {places.of(split)[1]}, the "
        f"first is {images[0]}. {_instead(places.of(split)[1], images[0])}Add the masks, "
        f"or give the names as patterns: /images/*_photo.jpg,/masks/*_labels.png."
    )


def _instead(masks: pathlib.Path, image: pathlib.Path) -> str:
    """Returns a sentence about a file of this name that cannot be a mask; '' without."""
    if not masks.is_dir():
        return ""
    others = sorted(path for path in masks.iterdir() if path.stem == image.stem)
    if not others:
        return ""
    lossy = others[0].suffix.lower() in (".jpg", ".jpeg", ".jfif", ".webp")
    why = "whose compression changes the ids" if lossy else "which is not read as a mask"
    return f"There is {others[0].name}, {why}: save masks as PNG. "


def _by_folders(places: PairedFolders) -> PairedFolders:
    """Puts `{split}` behind both paths if there are folders for it."""
    folder = pathlib.Path(places.images).expanduser()
    if places.by_split or not folder.is_dir():
        return places
    if not any((folder / name).is_dir() for name in usual_names("train")):
        _check_no_other_splits(places, folder)
        return places
    return PairedFolders(
        places.name, f"{places.images}/{{split}}", f"{places.annotations}/{{split}}"
    )


def _check_no_other_splits(places: PairedFolders, folder: pathlib.Path) -> None:
    """Raises `UserError` if folders look like splits: all would be split again together."""
    named = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and split_called(path.name.rstrip("0123456789"))
    )
    if named:
        raise UserError(
            f"data {places.name!r}: expected a folder `train` beside {', '.join(named)} in "
            f"{folder}, got none, and all images would be split anew. Call the folder of "
            f"training images `train`, or put {{split}} into both paths, such as "
            f"/images/{{split}}2017,/masks/{{split}}2017."
        )


def _pairs(places: PairedFolders, split: str) -> _Pairs:
    """Returns name -> (image, mask) of one split, sorted by name; None without a mask."""
    if not places.by_split:
        check_split(places.name, split=split, splits=USUAL_NAMES)
    shared_out = places.holds_out(split)
    image_place, mask_place = places.of("train" if shared_out else split)
    images = _files(image_place, EXTENSIONS, name=places.name)
    masks = _files(mask_place, _MASK_EXTENSIONS, name=places.name)
    if images and masks.keys().isdisjoint(images):
        raise UserError(_no_masks(places, split, list(images.values()), of=len(images)))
    if shared_out:
        chosen = held_out(images, split=split)
    else:
        chosen = sorted(images) if places.by_split else share_of(images, split=split)
    if not chosen:
        raise UserError(
            f"data {places.name!r}: split {split!r} has no images "
            f"({' '.join(EXTENSIONS)}) in {image_place}."
        )
    return {shared: (images[shared], masks.get(shared)) for shared in chosen}


def _trained_ids(places: PairedFolders) -> frozenset[int]:
    trained = _pairs(places, "train").values()
    return ids_in([mask for _, mask in trained if mask])


def _notes(places: PairedFolders, split: str) -> tuple[str, ...]:
    if places.by_split and not places.holds_out(split):
        return ()
    images = _files(places.of("train")[0], EXTENSIONS, name=places.name)
    if not places.by_split:
        return (shared_out_note(len(images)),)
    out = held_out(images, split="validation")
    return (held_out_note(len(out), of=len(images)),)


def _files(
    place: pathlib.Path, extensions: tuple[str, ...], *, name: str
) -> dict[str, pathlib.Path]:
    """Returns the shared part of the name -> path, for a folder or a pattern in one."""
    folder, before, after = place, "", ""
    if "*" in place.name:
        folder, (before, _, after) = place.parent, place.name.partition("*")
    found: dict[str, pathlib.Path] = {}
    for file in map(pathlib.PurePosixPath, files_below(folder, extensions=extensions)):
        if not (file.name.startswith(before) and file.name.endswith(after)):
            continue
        shared = file.name.removeprefix(before).removesuffix(after or file.suffix)
        # Letters such as é have two spellings; images and masks may have one each.
        shared = unicodedata.normalize("NFC", (file.parent / shared).as_posix())
        if shared in found:
            raise UserError(
                f"data {name!r}: {found[shared]} and {folder / file} differ by their "
                f"extension alone. Keep one of them."
            )
        found[shared] = folder / file
    return found


def _all_images(places: PairedFolders) -> set[pathlib.Path]:
    """Returns the images of every split there is: a model may meet any of them."""
    images: set[pathlib.Path] = set()
    for split in USUAL_NAMES:
        try:
            place, _ = places.of(split)
        except UserError:
            continue
        images.update(_files(place, EXTENSIONS, name=places.name).values())
    return images


def _listed(places: PairedFolders) -> tuple[str, ...] | None:
    """Returns the names in `classes.txt`, in or beside the folder of the masks."""
    parts = pathlib.PurePath(places.annotations).parts
    fixed = itertools.takewhile(lambda p: "{split}" not in p and "*" not in p, parts)
    folder = pathlib.Path(*fixed).expanduser()
    for place in (folder, folder.parent):
        names = listed_classes(place, most=VOID)
        if names is not None:
            return names
    return None
