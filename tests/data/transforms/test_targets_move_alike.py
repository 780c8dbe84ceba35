"""A rectangle painted as image, mask and box stays one, whatever the transforms."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from hybrid_jax.contracts import VOID
from hybrid_jax.data.transforms.affine import rotation, warped_picture, warped_targets
from hybrid_jax.data.transforms.center_crop import CenterCrop
from hybrid_jax.data.transforms.letterbox import Letterbox
from hybrid_jax.data.transforms.pad_and_crop import PadAndCrop
from hybrid_jax.data.transforms.placement import Placement
from hybrid_jax.data.transforms.rand_augment import MOTIONS, RandAugment
from hybrid_jax.data.transforms.random_resized_crop import RandomResizedCrop
from hybrid_jax.data.transforms.resize import Resize
from hybrid_jax.data.transforms.sample import Sample, sample_of
from hybrid_jax.data.transforms.scale_jitter import ScaleJitter

ORIGINAL_HW, HW, KIND = (90, 120), (48, 64), "bilinear"
PAD_PX = 3
REFLECTED_PX = 2 * PAD_PX  # how far from a box its reflection may end
CROPS = dict(
    resize=Resize(HW, KIND),
    letterbox=Letterbox(HW, KIND),
    letterbox_high=Letterbox((64, 40), KIND),
    scale_jitter=ScaleJitter(HW, (0.3, 3.0), KIND),
    random_resized=RandomResizedCrop(HW, (0.1, 1.0), (0.5, 2.0), KIND),
    pad=PadAndCrop(HW, PAD_PX, KIND),
    center=CenterCrop(HW, 0.7, KIND),
)


@dataclasses.dataclass(frozen=True)
class Warp:
    """One motion of RandAugment alone: its recolorings would change what is looked for."""

    name: str

    def __call__(self, sample, rng):
        picture = Image.fromarray(np.ascontiguousarray(sample.image))
        matrix = MOTIONS[self.name](picture.size, rng.uniform(0.1, 1.0), rng)
        image = np.array(warped_picture(picture, matrix))
        return dataclasses.replace(warped_targets(sample, matrix), image=image)


def painted(rng) -> Sample:
    """Returns a red rectangle on green, its mask of 1 on 0, and its box."""
    height, width = ORIGINAL_HW
    x0, y0 = rng.integers(0, width - 30), rng.integers(0, height - 30)
    x1, y1 = rng.integers(x0 + 10, width + 1), rng.integers(y0 + 10, height + 1)
    mask = np.zeros(ORIGINAL_HW, np.uint8)
    mask[y0:y1, x0:x1] = 1
    image = np.zeros((*ORIGINAL_HW, 3), np.uint8)
    image[..., 0], image[..., 1] = mask * 255, 255 - mask * 255
    example = dict(
        image=image,
        segmentation=mask,
        boxes_xyxy_px=np.float32([[x0, y0, x1, y1]]),
        box_labels=np.int32([4]),
    )
    return sample_of(example, ("boxes", "segmentation"))


def box_of(found: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def moved(sample: Sample, chain, rng) -> tuple[Sample, float]:
    """Returns the sample after a chain, and by how many px its edges may be apart."""
    apart = 0.0
    for transform in chain:
        before = np.array(sample.scale_yx)
        sample = transform(sample, rng)
        # Pixels are whole: each step rounds edges, and later ones enlarge the rounding.
        apart = apart * float((np.array(sample.scale_yx) / before).max()) + 1.0
        apart += REFLECTED_PX if isinstance(transform, PadAndCrop) else 0.0
        apart += 0.5 if isinstance(transform, Warp) else 0.0  # tips of turned corners
    return sample, apart


def assert_alike(sample: Sample, *, apart: float) -> bool:
    """Compares the three; returns False if no box is left to compare."""
    cut = sample.with_boxes_cut()
    assert len(cut.boxes_xyxy_px) + cut.cut_off + cut.vanished == 1
    assert len(cut.box_labels) == len(cut.boxes_xyxy_px)
    assert sample.mask.shape == sample.hw
    if not len(cut.boxes_xyxy_px):
        return False
    reddish = sample.image[..., 0].astype(int) > sample.image[..., 1]
    np.testing.assert_allclose(box_of(sample.mask == 1), cut.boxes_xyxy_px[0], atol=apart)
    np.testing.assert_allclose(box_of(reddish), cut.boxes_xyxy_px[0], atol=apart)
    return True


def is_reflected(sample: Sample) -> bool:
    """Whether the border of `PadAndCrop` can show the rectangle once more."""
    x0, y0, x1, y1 = sample.boxes_xyxy_px[0]
    return min(x0, y0, HW[1] - x1, HW[0] - y1) <= REFLECTED_PX


def is_inside(sample: Sample) -> bool:
    x0, y0, x1, y1 = sample.boxes_xyxy_px[0]
    return x0 >= 0 and y0 >= 0 and x1 <= HW[1] and y1 <= HW[0]


@pytest.mark.parametrize("name", CROPS)
def test_rectangle_stays_one_after_each_crop(name):
    compared = 0
    for seed in range(90):
        rng = np.random.default_rng(seed)
        sample, _ = moved(painted(rng), [CROPS[name]], rng)
        if name != "pad" or not is_reflected(sample):
            compared += assert_alike(sample, apart=1.0)
    assert compared > 20


@pytest.mark.parametrize("name", MOTIONS)
def test_rectangle_is_followed_when_it_is_turned_sheared_or_shifted(name):
    compared = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        sample, apart = moved(painted(rng), [CROPS["letterbox"], Warp(name)], rng)
        x0, y0, x1, y1 = sample.boxes_xyxy_px[0]
        inside = x0 >= 0 and y0 >= 0 and x1 <= HW[1] and y1 <= HW[0]
        # Of a turned rectangle that is cut, the box is cut and not drawn closer.
        if inside or name.startswith("translate"):
            compared += assert_alike(sample, apart=apart)
    assert compared > 20


def test_rectangle_stays_one_after_chains_of_crops():
    compared, crops = 0, list(CROPS.values())
    for seed in range(300):
        rng = np.random.default_rng(seed)
        chain = [crops[i] for i in rng.integers(len(crops), size=rng.integers(2, 4))]
        sample, apart = moved(painted(rng), chain, rng)
        compared += assert_alike(sample, apart=apart)
    assert compared > 120


@pytest.mark.parametrize("name", [*CROPS, *MOTIONS])
def test_padding_is_void_where_it_is_gray(name):
    transform = CROPS.get(name) or Warp(name)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sample = transform(painted(rng), rng)
        top, left, bottom, right = sample.content_yxyx_px
        outside = np.ones(sample.hw, bool)
        outside[top:bottom, left:right] = False
        assert (sample.mask[outside] == VOID).all()
        # Everything else is red or green, bilinear mixtures at its edges aside.
        gray = (sample.image == 128).all(-1)
        assert gray[outside].all()
        assert (gray == (sample.mask == VOID)).mean() > 0.95


def test_way_back_to_the_original_leads_through_chains():
    corners = np.float32([[0, 0, 120, 90], [30, 20, 80, 70]])
    whole = sample_of(
        dict(
            image=np.zeros((*ORIGINAL_HW, 3), np.uint8),
            boxes_xyxy_px=corners,
            box_labels=np.int32([0, 1]),
        ),
        ("boxes",),
    )
    for seed in range(20):
        rng = np.random.default_rng(seed)
        names = ("scale_jitter", "random_resized", "pad", "letterbox")
        sample = whole
        for name in rng.permutation(names):
            sample = CROPS[name](sample, rng)
        offset, scale = np.array(sample.offset_yx), np.array(sample.scale_yx)
        back = (sample.boxes_xyxy_px - np.tile(offset[::-1], 2)) / np.tile(scale[::-1], 2)
        np.testing.assert_allclose(back, corners, atol=1e-2)


def test_rand_augment_moves_all_alike():
    compared = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        resized = CROPS["resize"](painted(rng), rng)
        sample = RandAugment(1, 9.0)(resized, rng)
        if sample.mask is not resized.mask and is_inside(sample):
            compared += assert_alike(sample, apart=2.5)
    assert compared > 30


def test_what_was_cut_off_does_not_come_back_with_a_turn():
    example = dict(
        image=np.zeros((148, 64, 3), np.uint8),
        boxes_xyxy_px=np.float32([[30, 40, 40, 120], [10, 0, 20, 101]]),
        box_labels=np.int32([0, 1]),
    )
    # A quarter of the first is seen, a hundredth of the second.
    crop = Placement((148, 64), (148, 64), (-100, 0), HW)
    sample = sample_of(example, ("boxes",)).placed(crop, interpolation=KIND)
    turned = warped_targets(sample, rotation(30, size=(64, 48)))
    assert turned.cut_off == 1
    ((x0, y0, x1, y1),) = turned.boxes_xyxy_px
    # Those are the 10 x 20 px that are seen, and not all of the 10 x 80 px.
    sin, cos = 0.5, np.sqrt(0.75)
    np.testing.assert_allclose(x1 - x0, 10 * cos + 20 * sin, rtol=1e-5)
    np.testing.assert_allclose(y1 - y0, 20 * cos + 10 * sin, rtol=1e-5)
