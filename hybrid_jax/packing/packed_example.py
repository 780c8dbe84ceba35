"""One example of a source as the bytes that are packed, smaller if asked for."""

import dataclasses
import io
import pathlib

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from hybrid_jax.contracts import Example, Source
from hybrid_jax.data.formats.example_record import png_of, to_record
from hybrid_jax.data.reading import reading_as
from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.errors import BadAnnotationError, BadImageError

_QUALITY = 95  # of JPEG files that were resized
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")


@dataclasses.dataclass(frozen=True)
class Packer:
    """Turns examples to records; what the config skips is None.

    Files of images are packed as they are, byte by byte, so that what is decoded is the
    same. Images that no file holds become PNG.

    Attributes:
        source: what is packed.
        skip: errors for which an example is left out.
        data: the `data` branch of a config, for how images are read.
        max_side: px of the longer side; larger images are resized, with their boxes and
            masks. None for none.
    """

    source: Source
    skip: tuple[type[Exception], ...]
    data: ConfigDict
    max_side: int | None

    def record(self, index: int) -> bytes | None:
        """Returns the record of an example; None if it is left out.

        Raises:
            BadImageError, BadAnnotationError: it cannot be read, and such are not skipped.
        """
        try:
            with reading_as(self.data):
                example = self.source[index]
        except (BadImageError, BadAnnotationError) as error:
            if isinstance(error, self.skip):
                return None
            raise
        path = self._file(index)
        largest = max(example["image"].shape[:2])
        if self.max_side is not None and largest > self.max_side:
            example = smaller(example, max_side=self.max_side)
            lossy = path is not None and path.suffix.lower() in _LOSSY
            content = (_jpeg_of if lossy else png_of)(example["image"])
        elif path is not None:
            content = path.read_bytes()
        else:
            content = png_of(np.ascontiguousarray(example["image"]))
        return to_record(example, image_file=content)

    def _file(self, index: int) -> pathlib.Path | None:
        image_file = getattr(self.source, "image_file", None)
        return image_file(index) if image_file is not None else None


def smaller(example: Example, *, max_side: int) -> Example:
    """Returns an example resized so that its longer side is `max_side` px.

    The image is resized bicubically with antialiasing, masks take the nearest id.
    """
    height, width = example["image"].shape[:2]
    scale = max_side / max(height, width)
    hw = max(1, round(height * scale)), max(1, round(width * scale))
    place = Placement((height, width), hw, (0, 0), hw)
    changed = {"image": place.image(example["image"], interpolation="bicubic")}
    if "boxes_xyxy_px" in example:
        changed["boxes_xyxy_px"] = place.boxes(example["boxes_xyxy_px"])
    if "box_areas_px" in example:
        factor = np.float32(place.scale_yx[0] * place.scale_yx[1])
        changed["box_areas_px"] = example["box_areas_px"] * factor
    if "segmentation" in example:
        changed["segmentation"] = place.mask(example["segmentation"])
    return {**example, **changed}


def _jpeg_of(image_u8: np.ndarray) -> bytes:
    file = io.BytesIO()
    # Colors at full resolution: halving them once more would be seen.
    Image.fromarray(image_u8).save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()
