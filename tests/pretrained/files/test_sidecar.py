"""What files beside weights say about images, as timm and transformers write them."""

import json

import pytest

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Preprocessing
from hybrid_jax.pretrained.files.sidecar import read_preprocessing

HALF = [0.5, 0.5, 0.5]
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLIP = [0.48145466, 0.4578275, 0.40821073]


@pytest.fixture
def beside(tmp_path):
    """Writes descriptions beside a file of weights and returns what is made of them."""

    def read(**files):
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{name}.json").write_text(text)
        return read_preprocessing(tmp_path / "model.safetensors")

    return read


def timm(**images):
    """Returns timm's description of a model of the hub, as far as it matters."""
    images = dict(mean=HALF, std=HALF, interpolation="bicubic", crop_pct=0.9) | images
    common = dict(architecture="vit_small_patch16_224", num_classes=1000)
    return common | dict(pretrained_cfg=images | dict(input_size=[3, 224, 224]))


def transformers(**images):
    return dict(image_mean=HALF, image_std=HALF, resample=2, do_normalize=True) | images


def test_no_description_is_no_answer(beside):
    assert beside() is None


def test_timm_s_half_and_imagenet(beside):
    assert beside(config=timm()) == Preprocessing(normalization="half", eval_crop=0.9)
    images = timm(mean=MEAN, std=DEVIATION, interpolation="bilinear", crop_pct=1.0)
    assert beside(config=images) == Preprocessing(
        normalization="imagenet", interpolation="bilinear", eval_crop=1.0
    )


def test_timm_s_descriptions_of_before_2023(beside):
    flat = timm(mean=MEAN, std=DEVIATION, crop_pct=0.95)["pretrained_cfg"]
    found = beside(config=flat)
    assert (found.normalization, found.eval_crop) == ("imagenet", 0.95)


def test_transformers_descriptions(beside):
    model = dict(architectures=["ViTForImageClassification"], hidden_size=768)
    found = beside(config=model, preprocessor_config=transformers())
    assert found == Preprocessing(normalization="half", interpolation="bilinear")


@pytest.mark.parametrize(
    "size", [256, dict(shortest_edge=256), dict(height=256, width=256)]
)
def test_transformers_crop_is_a_share_of_the_resized_image(beside, size):
    crop = dict(height=224, width=224)
    images = transformers(
        image_mean=MEAN, image_std=DEVIATION, resample=3, size=size, crop_size=crop
    )
    found = beside(preprocessor_config=images | dict(do_center_crop=True))
    assert found == Preprocessing(normalization="imagenet", eval_crop=0.875)
    found = beside(preprocessor_config=images | dict(do_center_crop=False))
    assert found.eval_crop == 1.0


def test_timm_s_description_comes_first(beside):
    found = beside(
        config=timm(mean=MEAN, std=DEVIATION), preprocessor_config=transformers()
    )
    assert found.normalization == "imagenet"


def test_description_without_images_is_no_answer(beside):
    assert beside(config=dict(hidden_size=768), preprocessor_config=dict(size=224)) is None
    assert beside(config="[1, 2]") is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (dict(config="{"), "cannot be read as JSON"),
        (dict(config=timm(mean=CLIP)), r"of half or imagenet, got \[0.48145466"),
        (dict(config=timm(mean=[0.0] * 3, std=[1.0] * 3)), "of half or imagenet, got"),
        (dict(config=timm(mean=MEAN)), "of half or imagenet, got"),  # ImageNet's mean alone
        (
            dict(config=timm(mean=[0.47, 0.46, 0.41], std=DEVIATION)),
            "of half or imagenet, got",
        ),
        (dict(config=timm(mean="0.5")), "of half or imagenet, got"),
        (
            dict(config=timm(mean=[0.5])),
            "of half or imagenet, got",
        ),  # of a model of gray images
        (dict(config=timm(interpolation="nearest")), "bilinear or bicubic, got 'nearest'"),
        (dict(config=timm(crop_pct=1.2)), r"a crop in \(0, 1\], got 1.2"),
        (
            dict(preprocessor_config=transformers(do_normalize=False)),
            "of half or imagenet, got",
        ),
        (dict(preprocessor_config=transformers(resample=0)), "got 0"),
    ],
)
def test_images_that_cannot_be_prepared_are_refused(beside, files, message):
    with pytest.raises(UserError, match=message) as caught:
        beside(**files)
    assert "next to the weights" in str(caught.value)
    assert "\n" not in str(caught.value)
