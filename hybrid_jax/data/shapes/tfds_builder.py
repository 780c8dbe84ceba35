"""The TFDS builder of `shapes`; writes and reads without TensorFlow.

    HybridShapes(config="s64", file_format="array_record").download_and_prepare(
        file_format="array_record"
    )

After that `data.name=tfds:hybrid_shapes/s64` reads what `data.name=shapes` draws.
"""

import io
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from hybrid_jax.data.shapes import shapes


class HybridShapes(tfds.core.GeneratorBasedBuilder):
    """Textured shapes in four layouts, with labels, boxes and masks.

    Attributes:
        limit: examples written of each split; `None` for all. Set it on a subclass.
    """

    VERSION = tfds.core.Version(f"{shapes.SPEC_VERSION}.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="s64", description="64 px"),
        tfds.core.BuilderConfig(name="s128", description="128 px"),
    ]
    limit: ClassVar[int | None] = None

    @property
    def size_px(self) -> int:
        """Side of the images of this config."""
        config = self.builder_config
        assert config is not None  # TFDS takes the first unless one is named
        return int(config.name.removeprefix("s"))

    def _info(self) -> tfds.core.DatasetInfo:
        texture = tfds.features.ClassLabel(names=shapes.TEXTURES)
        mask_shape = (self.size_px, self.size_px, 1)
        features = {
            "id": np.int64,
            "image": tfds.features.Image(shape=(*mask_shape[:2], 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(
                names=[f"{t}/{n}" for t in shapes.TEXTURES for n in shapes.LAYOUTS]
            ),
            "texture": texture,
            "layout": tfds.features.ClassLabel(names=shapes.LAYOUTS),
            "segmentation": tfds.features.LabeledImage(
                labels=["background", *shapes.KINDS],
                shape=mask_shape,
                encoding_format="png",
            ),
            "instances": tfds.features.Image(shape=mask_shape, encoding_format="png"),
            "objects": tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(names=shapes.KINDS),
                    "texture": texture,
                    "area": np.int64,
                }
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=shapes.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {name: self._generate_examples(name) for name in shapes.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        spec = shapes.SPLITS[split]
        count = spec.num_examples if self.limit is None else self.limit
        for index in range(count):
            drawn = shapes.draw_example(index, split=spec, size_px=self.size_px)
            # Of arrays, TFDS would make PNGs with TensorFlow; bytes it takes as they are.
            images = {
                key: _png(drawn[key]) for key in ("image", "segmentation", "instances")
            }
            labels = {key: drawn[key] for key in ("label", "texture", "layout")}
            objects = _objects(drawn, size_px=self.size_px)
            yield index, {"id": index, "objects": objects, **images, **labels}


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _objects(drawn: dict[str, Any], *, size_px: int) -> list[dict[str, Any]]:
    # Objects too small to be annotated have pixels in the mask as well.
    areas = np.bincount(drawn["instances"].ravel())[1:]
    areas = areas[areas >= shapes.MIN_VISIBLE_PX]
    boxes = (drawn[key] for key in ("boxes_xyxy_px", "box_labels", "box_textures"))
    objects = []
    for box, label, texture, area in zip(*boxes, areas, strict=True):
        # Sides are powers of two, so the shares are exact in float32.
        xmin, ymin, xmax, ymax = (float(side) / size_px for side in box)
        objects.append(
            {
                "bbox": tfds.features.BBox(ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax),
                "label": int(label),
                "texture": int(texture),
                "area": int(area),  # visible pixels, as COCO counts them
            }
        )
    return objects
