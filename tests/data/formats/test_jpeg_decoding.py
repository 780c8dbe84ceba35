"""JPEGs decoded smaller, and by simplejpeg: the same pictures in less time."""

import io

import numpy as np
import pytest
from data_examples import data_config
from PIL import Image
from sklearn.datasets import load_sample_image

from hybrid_jax.data.example_loader import ExampleLoader
from hybrid_jax.data.formats.decoding import fast_jpeg
from hybrid_jax.data.formats.decoding.decode import read_image
from hybrid_jax.data.formats.decoding.scaled_decoding import decoded_for, divisor_of


def _jpeg(image: Image.Image, *, orientation: int = 1, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def photo():
    """A photo of 427x640 px."""
    return Image.fromarray(load_sample_image("china.jpg"))


class _Files:
    """A source of one JPEG that is read anew each time."""

    def __init__(self, content: bytes):
        self.content = content

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
        image = read_image(self.content)
        boxes = np.float32([[2, 3, 12, 9]])
        whole = dict(boxes_xyxy_px=boxes, box_labels=np.int32([0]))
        return dict(image=image, label=0, read_hw=image.shape[:2], **whole)


@pytest.mark.parametrize(
    ("scale", "divisor"), [(1.0, 1), (0.26, 1), (0.25, 2), (0.125, 4), (0.06, 8), (0.01, 8)]
)
def test_two_pixels_are_left_for_each_one_shown(photo, scale, divisor):
    with decoded_for(lambda hw: scale):
        assert divisor_of((427, 640)) == divisor
        pixels = read_image(_jpeg(photo))
    assert pixels.shape == (-(-427 // divisor), -(-640 // divisor), 3)
    assert read_image(_jpeg(photo)).shape == (427, 640, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_smaller_picture_is_upright_too(photo, orientation):
    sizes = []

    def scale_of(hw):
        sizes.append(hw)
        return 0.1

    content = _jpeg(photo, orientation=orientation)
    whole = read_image(content)
    with decoded_for(scale_of):
        small = read_image(content)
    assert sizes == [whole.shape[:2]]
    resized = np.asarray(Image.fromarray(whole).resize(small.shape[1::-1], Image.BOX))
    # Another one of the eight would be 20 and more away.
    assert np.abs(resized.astype(int) - small).mean() < 5


@pytest.mark.parametrize("crop", ["resize", "pad", "letterbox", "scale_jitter"])
def test_rows_are_within_two_gray_levels(photo, crop):
    content = _jpeg(photo, quality=90)
    rows = {}
    for scaled in (True, False):
        data = data_config(image_size=(48, 64), crop=crop, scaled_decoding=scaled)
        data.scale_jitter = (0.9, 1.1)
        loader = ExampleLoader(_Files(content), data=data, targets=["label"])
        train = loader.train(0, np.random.default_rng(0))
        rows[scaled] = [row["image"].astype(int) for row in (loader.evaluate(0), train)]
    for scaled, whole in zip(rows[True], rows[False], strict=True):
        assert 0 < np.abs(scaled - whole).mean() < 2


def test_random_crops_keep_enough_pixels(photo):
    data = data_config(image_size=(32, 32), crop="random_resized", crop_area=(0.25, 1.0))
    read: list = []
    source = _Watched(_Files(_jpeg(photo)), read)
    loader = ExampleLoader(source, data=data, targets=["label"])
    loader.train(0, np.random.default_rng(0))
    # The smallest square has 261 px a side: a quarter leaves 65, an eighth 33.
    assert read == [(107, 160)]


class _Watched:
    def __init__(self, source, read):
        self.source, self.read = source, read

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
        example = self.source[index]
        self.read.append(example["read_hw"])
        return example


@pytest.mark.parametrize("targets", [["label"], ["boxes"], ["label", "boxes"]])
def test_whole_images_are_read_for_boxes(photo, targets):
    read: list = []
    source = _Watched(_Files(_jpeg(photo)), read)
    ExampleLoader(source, data=data_config(), targets=targets).evaluate(0)
    assert read == [(54, 80) if targets == ["label"] else (427, 640)]


_KINDS = {
    "4:2:0": {},
    "4:4:4": dict(subsampling=0),
    "progressive": dict(progressive=True),
    "poor": dict(quality=10),
}


@pytest.fixture
def simplejpeg():
    return pytest.importorskip("simplejpeg", reason="pip install 'hybrid_jax[jpeg]'")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("scale", [1.0, 0.25, 0.1, 0.05])
def test_simplejpeg_gives_the_pixels_of_pillow(
    photo, mode, kind, scale, simplejpeg, monkeypatch
):
    content = _jpeg(photo.convert(mode), orientation=6, **_KINDS[kind])
    with decoded_for(lambda hw: scale):
        fast = read_image(content)
        monkeypatch.setattr(fast_jpeg, "_simplejpeg", lambda: None)
        ours = read_image(content)
    assert fast.shape == ours.shape
    assert np.abs(fast.astype(int) - ours).max() <= 2
    assert fast.flags["C_CONTIGUOUS"]


def test_what_simplejpeg_refuses_is_left_to_pillow(photo, monkeypatch):
    content = _jpeg(photo)
    whole = read_image(content)
    asked = []

    class Refusing:
        def decode_jpeg(self, data, **options):
            asked.append(len(data))
            raise ValueError("no JPEG")

    monkeypatch.setattr(fast_jpeg, "_simplejpeg", Refusing)
    np.testing.assert_array_equal(read_image(content), whole)
    assert asked == [len(content)]
