"""`hybrid_jax.predict`: the same answers as the mode gives, from whatever is at hand."""

import json

import numpy as np
import pytest
from etils import epath
from PIL import Image
from saved_run import TASKS, config_of, saved

import hybrid_jax
from hybrid_jax.data.formats.decoding.decode import read_mask
from hybrid_jax.errors import BadImageError, UserError
from hybrid_jax.predicting.class_names import published_names
from hybrid_jax.predicting.predict_run import predict_run
from hybrid_jax.predicting.predictor import Predictor
from hybrid_jax.pretrained.dialect import Preprocessing
from hybrid_jax.pretrained.save import save_pretrained

pytestmark = pytest.mark.usefixtures("one_device")

SIZES = [(20, 30), (50, 31), (33, 64), (24, 24), (24, 24)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Frames of a video that were numbered without zeros."""
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(0)
    for number, hw in zip((1, 2, 3, 10, 20), SIZES, strict=True):
        image = random.integers(0, 256, (*hw, 3), np.uint8)
        Image.fromarray(image).save(folder / f"frame_{number}.png")
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = epath.Path(tmp_path_factory.mktemp("classifier"))
    saved(path, config_of("classification"))
    return str(path)


@pytest.fixture(scope="module")
def made(classifier):
    return hybrid_jax.predictor(classifier)


def test_program_is_compiled_with_the_options_of_its_platform(
    monkeypatch, classifier, photos
):
    options = "hybrid_jax.predicting.predictor.cpu_options"
    monkeypatch.setattr(options, lambda: {"xla_no_such_option": True})
    with pytest.raises(Exception, match="xla_no_such_option"):
        hybrid_jax.predictor(classifier)(photos)


# Boxes are predicted so in `tests/exporting/test_export_run.py` by every pytest.
SLOW_BOXES = [
    pytest.param(task, marks=[pytest.mark.slow] if task == "detection" else [])
    for task in TASKS
]


@pytest.mark.parametrize("task", SLOW_BOXES)
def test_answers_are_those_of_the_mode(task, tmp_path, photos):
    config, path = config_of(task), epath.Path(tmp_path)
    saved(path, config)
    written = predict_run(config, str(path), inputs=[str(photos)])
    found = hybrid_jax.predict(str(path), photos, batch_size=2)
    assert [answer.image for answer in found] == [answer["image"] for answer in written]
    for ours, theirs in zip(found, written, strict=True):
        if task == "classification":
            assert [row.name for row in ours.labels] == [
                r["name"] for r in theirs["labels"]
            ]
            likely = [row["probability"] for row in theirs["labels"]]
            assert [x.probability for x in ours.labels] == pytest.approx(likely, abs=1e-5)
        elif task == "detection":
            assert [box.name for box in ours.boxes] == [r["name"] for r in theirs["boxes"]]
            for box, row in zip(ours.boxes, theirs["boxes"], strict=True):
                assert box.box_xyxy_px == pytest.approx(row["box_xyxy_px"], abs=1e-3)
        else:
            there = read_mask(path / "predictions" / theirs["segmentation"])
            assert ours.segmentation.shape == there.shape
            assert (ours.segmentation != there).mean() < 0.01  # ties, rounded otherwise
            assert ours.classes[0].name == theirs["classes"][0]["name"]
        drawn = Image.open(path / "predictions" / theirs["drawn"])
        assert ours.draw().size == drawn.size


def test_frames_come_in_the_order_of_their_numbers_and_keep_them(
    classifier, photos, tmp_path
):
    config, out = config_of("classification"), tmp_path / "out"
    answers = predict_run(config, classifier, inputs=[str(photos)], output=str(out))
    names = [f"frame_{number}.png" for number in (1, 2, 3, 10, 20)]
    assert [answer["drawn"] for answer in answers] == names


def test_pixels_are_taken_in_any_form(made, photos):
    path = photos / "frame_2.png"
    picture = Image.open(path)
    pixels = np.asarray(picture)
    forms = [path, str(path), picture, pixels, pixels[None], [pixels], str(photos / "*_2*")]
    answers = [made(form)[0] for form in forms]
    likely = [[row.probability for row in answer.labels] for answer in answers]
    np.testing.assert_allclose(likely, np.tile(likely[0], (len(forms), 1)), atol=1e-6)
    assert answers[3].image == "image 0"
    gray = pixels[..., 0]
    flat, colored = made([gray, np.stack([gray] * 3, -1)])
    assert flat.best.label == colored.best.label
    assert flat.best.probability == pytest.approx(colored.best.probability, abs=1e-6)
    many = hybrid_jax.predict(made, np.stack([pixels, 255 - pixels]))
    assert len(many) == 2
    assert many[0].best.name in made.class_names
    assert [a.image for a in made.each([pixels, path])] == ["image 0", str(path)]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "expected one or more images, got none"),
        ("/nowhere", "predict: images: there is no file or folder"),
        (np.zeros((4, 4, 3)), r"expected uint8 arrays .*, got float64 \(4, 4, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"got uint8 \(4, 4, 4\)"),
        ([7], "expected paths, Pillow images or uint8 arrays, got int"),
    ],
)
def test_what_is_no_image_is_refused(made, images, message):
    with pytest.raises(UserError, match=message):
        hybrid_jax.predict(made, images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(image_size=0), "image_size: expected .* at least 1, got 0"),
        (dict(image_size=32.5), r"image_size: .* got 32\.5"),
        (dict(image_size="32"), "image_size: .* got '32'"),
        (dict(image_size=(32, 32, 3)), "image_size: .* got"),
        (dict(normalization="foo"), "normalization: expected one of .*half.*, got 'foo'"),
    ],
)
def test_option_outside_its_range_is_refused(classifier, photos, options, message):
    with pytest.raises(UserError, match=message):
        hybrid_jax.predict(classifier, photos, **options)


def test_batch_of_no_images_is_refused(made, photos):
    for size in (0, -1, 1.5):
        with pytest.raises(UserError, match=f"batch_size: expected .*, got {size}"):
            made(photos, batch_size=size)
        with pytest.raises(UserError, match=f"batch_size: expected .*, got {size}"):
            next(made.each(photos, batch_size=size))


def test_place_without_a_model_is_named_as_one(tmp_path):
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="expected the workdir of a run, .* or publ"):
            hybrid_jax.predict(str(place), "any.png")


def test_unreadable_file_is_named(made, photos, tmp_path):
    (tmp_path / "bad.png").write_bytes((photos / "frame_1.png").read_bytes()[:60])
    with pytest.raises(BadImageError, match=r"bad\.png"):
        hybrid_jax.predict(made, [photos, tmp_path / "bad.png"])


def test_batch_is_halved_where_memory_is_short(made, photos, monkeypatch):
    import jax

    sizes, tried = [], Predictor._step

    def short_of_memory(self, task):
        def step(params, mutable, batch):
            sizes.append(len(batch["image"]))
            if sizes[-1] > 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
            return tried(self, task)(params, mutable, batch)

        return step

    expected = [answer.best.label for answer in made(photos)]
    monkeypatch.setattr(Predictor, "_step", short_of_memory)
    assert [answer.best.label for answer in made(photos)] == expected
    assert sizes == [8, 4, 2, 2, 2]


def test_model_in_memory_has_numbers_or_the_names_that_are_given(photos):
    model = hybrid_jax.create_model(
        "tiny",
        num_classes=3,
        image_size=32,
        resnet_options=dict(blocks=(1,), width=32),
        vit_options=dict(width=32, depth=1, num_heads=2, mlp_dim=32),
        fusion_options=dict(sequential=dict(stride=4)),
    )
    options = dict(image_size=32, class_names=("ant", "bee", "wasp"))
    (answer,) = hybrid_jax.predict(model, photos / "frame_1.png", **options)
    assert {row.name for row in answer.labels} == {"ant", "bee", "wasp"}
    assert hybrid_jax.predictor(model, image_size=32).class_names == ("0", "1", "2")
    with pytest.raises(UserError, match="expected 3 names, .* got 1"):
        hybrid_jax.predict(model, photos, class_names=["ant"])


def test_published_weights_bring_preprocessing_and_names(photos, tmp_path):
    options = dict(num_classes=2, image_size=64, vit_options=dict(depth=1))
    model = hybrid_jax.create_model("r_vit_ti16", **options)
    images = Preprocessing(normalization="imagenet", eval_crop=0.9)
    file = tmp_path / "model.safetensors"
    save_pretrained(model, file, format="safetensors", preprocessing=images)
    beside = json.loads((tmp_path / "config.json").read_text())
    beside["label_names"] = ["ant", "bee"]
    (tmp_path / "config.json").write_text(json.dumps(beside))
    made = hybrid_jax.predictor(tmp_path)
    assert made.class_names == ("ant", "bee")
    assert made.config.model.normalization == "imagenet"
    assert made.config.data.eval_crop == 0.9
    assert made.config.data.image_size == (64, 64)
    (answer,) = made(photos / "frame_3.png")
    assert {row.name for row in answer.labels} == {"ant", "bee"}


def test_names_of_published_classes(tmp_path):
    weights = tmp_path / "model.safetensors"
    assert published_names(weights, count=3) == ("0", "1", "2")
    assert published_names(weights, count=1000)[281] == "tabby, tabby cat"
    (tmp_path / "config.json").write_text('{"id2label": {"1": "bee", "0": "ant"}}')
    assert published_names(weights, count=2) == ("ant", "bee")
    assert published_names(weights, count=3) == ("0", "1", "2")
    (tmp_path / "config.json").write_text("[]")
    assert published_names(weights, count=2) == ("0", "1")


def test_lines_and_tables(classifier, photos, tmp_path):
    config = config_of("classification")
    for format in ("jsonl", "csv"):
        out = tmp_path / format
        options = dict(inputs=[str(photos)], output=str(out), format=format)
        answers = predict_run(config, classifier, **options)
        text = (out / f"predictions.{format}").read_text()
        if format == "jsonl":
            assert [json.loads(line) for line in text.splitlines()] == answers
            continue
        head, first, *others = text.splitlines()
        assert head == "image,label,name,probability,error"
        best = answers[0]["labels"][0]
        row = (best["label"], best["name"], best["probability"])
        assert first == ",".join(map(str, (photos / "frame_1.png", *row, "")))
        assert len(others) == 5 * len(SIZES) - 1
