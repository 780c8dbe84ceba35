"""One image of a run with what the model looked at, on the image as it was given."""

import dataclasses

import numpy as np
from PIL import Image

from hybrid_jax.data.transforms.sample import Sample
from hybrid_jax.explaining.drawing.color_map import overlaid, scaled
from hybrid_jax.explaining.explanation import CellMap

# px of the longer side of a picture: small images are enlarged, large ones reduced.
_LEAST_PX, _MOST_PX = 320, 960
_WHOLE_PX = 0.5  # of the model's input: less than this is lost by rounding alone


@dataclasses.dataclass(frozen=True)
class ExplainedImage:
    """An image and where the model's input lies in it.

    Attributes:
        image_u8: (H, W, 3) uint8, the whole image.
        sample: the model's input that was made of it.
    """

    image_u8: np.ndarray
    sample: Sample

    def crop_note(self) -> str:
        """Returns which part of the image the model was given, "" for all of it."""
        (height, width), size = self.image_u8.shape[:2], self.sample.hw
        seen = [
            min(side, (length - offset) / scale) - max(0.0, -offset / scale)
            for side, length, offset, scale in zip(
                (height, width),
                size,
                self.sample.offset_yx,
                self.sample.scale_yx,
                strict=True,
            )
        ]
        lost = np.subtract((height, width), seen) * self.sample.scale_yx
        if (lost <= _WHOLE_PX).all():
            return ""
        return (
            f"The model was given the center of the image, {seen[1]:.0f} x {seen[0]:.0f} "
            f"of {width} x {height} px (width x height). What has no color in the maps was "
            f"cropped away."
        )

    def picture(self, *, most_px: int = _MOST_PX) -> np.ndarray:
        """Returns the image with its longer side between 320 px (or less) and `most_px`."""
        height, width = self.image_u8.shape[:2]
        side = min(max(height, width, min(_LEAST_PX, most_px)), most_px)
        factor = side / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        whole = round(factor) if factor >= 1 else 0
        if whole > 1:  # pixels of small images stay pixels
            return self.image_u8.repeat(whole, 0).repeat(whole, 1)
        return np.asarray(Image.fromarray(self.image_u8).resize(size, Image.Resampling.BOX))

    def with_heat(self, heat: np.ndarray, *, most_px: int = _MOST_PX) -> np.ndarray:
        """Returns the picture with a map over it, scaled to its own maximum.

        Args:
            heat: (H', W') in px of the model's input. What was cropped away stays gray.
            most_px: as in `picture`.
        """
        picture = self.picture(most_px=most_px)
        height, width = picture.shape[:2]
        # From px of the picture to px of the image, and on to px of the model's input.
        by_y, by_x = np.divide(self.image_u8.shape[:2], (height, width))
        by_y, by_x = by_y * self.sample.scale_yx[0], by_x * self.sample.scale_yx[1]
        from_y, from_x = self.sample.offset_yx
        where = (by_x, 0, from_x, 0, by_y, from_y)

        def placed(values: np.ndarray, resample: Image.Resampling) -> np.ndarray:
            affine = Image.Transform.AFFINE
            laid = Image.fromarray(values).transform(
                (width, height), affine, where, resample
            )
            return np.asarray(laid)

        seen = placed(np.ones(heat.shape, np.float32), Image.Resampling.NEAREST)
        shown = placed(scaled(heat), Image.Resampling.BILINEAR)
        return overlaid(picture, shown, seen=seen > 0)

    def with_cells(self, cells: CellMap, *, most_px: int = _MOST_PX) -> np.ndarray:
        """Returns the picture with a map (1, h, w) of cells over it."""
        return self.with_heat(cells.on_image(self.sample.hw)[0], most_px=most_px)
