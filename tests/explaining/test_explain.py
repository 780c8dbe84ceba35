"""`hybrid_jax.explain`: its arrays, the class it explains, its errors."""

import importlib

import jax
import numpy as np
import pytest
from flax import nnx
from small_hybrid import K, example_images, hybrid

import hybrid_jax
from hybrid_jax.errors import UserError
from hybrid_jax.explaining.methods.class_score import class_score, predicted_class
from hybrid_jax.models.layers.folding import fold
from hybrid_jax.outputs import BoxSet, SegmentationOutputs, SetDetectionOutputs


@pytest.fixture(scope="module")
def model():
    return hybrid("sequential", fusion=dict(stride=8), vit=dict(depth=1))


@pytest.fixture(scope="module")
def images():
    return example_images()[:, :40, :24]  # 5 x 3 cells at stride 8


@pytest.fixture(scope="module")
def logits(model, images):
    """By one program: operation by operation, each would be compiled alone."""
    graph, state = nnx.split(model)
    return np.asarray(jax.jit(lambda s, x: nnx.merge(graph, s)(x).logits)(state, images))


@pytest.fixture(scope="module")
def found(model, images):
    return hybrid_jax.explain(model, images)


def test_predicted_class_is_explained(logits, found):
    assert found.classes.tolist() == logits.argmax(-1).tolist()
    np.testing.assert_allclose(found.scores, logits.max(-1), atol=1e-5)


def test_arrays_are_numpy_and_finite(found):
    for leaf in jax.tree.leaves(found):
        assert isinstance(leaf, np.ndarray | np.generic)
        assert np.isfinite(leaf).all()


def test_program_is_compiled_with_the_options_of_its_platform(monkeypatch, model, images):
    module = importlib.import_module("hybrid_jax.explaining.explain")
    monkeypatch.setattr(module, "cpu_options", lambda: {"xla_no_such_option": True})
    monkeypatch.setattr(module, "_PROGRAMS", {})
    with pytest.raises(Exception, match="xla_no_such_option"):
        hybrid_jax.explain(model, images)


def test_model_is_not_changed(model, images, found):
    kinds = {type(module) for _, module in nnx.iter_modules(model)}
    assert all(kind.__module__ != "hybrid_jax.explaining.observed_model" for kind in kinds)
    assert not any(hasattr(m, "_observer") for _, m in nnx.iter_modules(model))
    nnx.split(model)  # which would meet what was left behind


def test_another_class_has_another_map_and_its_own_score(model, images, logits, found):
    classes = (found.classes + 1) % K
    other = hybrid_jax.explain(model, images, classes=classes)
    np.testing.assert_allclose(other.scores, logits[np.arange(2), classes], atol=1e-5)
    assert np.abs(other.cams["stage2"].values - found.cams["stage2"].values).max() > 1e-4
    np.testing.assert_allclose(other.rollout.values, found.rollout.values, atol=1e-6)


def test_attention_of_the_class_token_is_a_share(found):
    (layer,) = found.attention
    assert layer.path == "vit/blocks/0/attn"
    assert layer.heads.values.shape == (2, 3, 5, 3)
    totals = layer.heads.values.sum((-1, -2))
    assert ((totals > 0) & (totals < 1)).all()  # the rest is for the class token itself
    assert layer.distances_px.shape == (2, 3)
    assert ((layer.distances_px > 0) & (layer.distances_px < np.hypot(40, 24))).all()


def test_fused_view_is_the_mean_of_both(found):
    views = found.views()
    assert list(views) == list(found.view_names()) == ["resnet", "transformer", "fused"]
    first, second = (
        views[name] / views[name].sum((1, 2), keepdims=True)
        for name in ("resnet", "transformer")
    )
    np.testing.assert_allclose(views["fused"], (first + second) / 2, atol=1e-7)
    assert views["fused"].shape == (2, 40, 24)


def test_a_folded_model_is_explained_alike(images, found):
    folded = hybrid("sequential", fusion=dict(stride=8), vit=dict(depth=1))
    fold(folded)
    again = hybrid_jax.explain(folded, images)
    for name, cam in found.cams.items():
        np.testing.assert_allclose(again.cams[name].values, cam.values, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(classes=[0]), "classes: expected one for each of the 2 images"),
        (dict(classes=[0, 3]), "classes: expected 0 to 2, got 3"),
        (dict(classes=[0, 1.5]), "classes: expected whole numbers, got float64"),
        (dict(classes=[True, False]), "classes: expected whole numbers, got bool"),
        (dict(leave_out=[7]), "classes: expected 0 to 2, got 7"),
    ],
)
def test_wrong_classes_are_refused(model, images, options, expected):
    with pytest.raises(UserError, match=expected):
        hybrid_jax.explain(model, images, **options)


def test_a_single_image_is_refused(model, images):
    with pytest.raises(UserError, match=r"images: expected \(B, H, W, 3\)"):
        hybrid_jax.explain(model, images[0])


def test_pixels_that_are_not_normalized_are_refused(model):
    with pytest.raises(UserError, match="images: expected normalized floats, got uint8"):
        hybrid_jax.explain(model, np.zeros((1, 40, 24, 3), np.uint8))


def test_a_batch_of_none_is_refused(model, images):
    with pytest.raises(UserError, match="B at least 1"):
        hybrid_jax.explain(model, images[:0])


def test_a_workdir_is_no_model(images):
    with pytest.raises(UserError, match="model: expected a model .*, got str"):
        hybrid_jax.explain("runs/tiny", images)


def test_masks_are_scored_where_the_class_wins():
    logits = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    outputs = SegmentationOutputs(jax.numpy.asarray(logits))
    winners = logits.argmax(-1)
    counts = np.stack([np.bincount(w.ravel(), minlength=5) for w in winners])
    best = predicted_class(outputs)
    assert (counts[[0, 1], best] == counts.max(1)).all()
    without = predicted_class(outputs, leave_out=(int(best[0]),))
    assert without[0] != best[0]
    scores = class_score(outputs, best)
    for b in range(2):
        of_class = logits[b, ..., best[b]]
        assert scores[b] == pytest.approx(of_class[winners[b] == best[b]].mean(), rel=1e-5)


def test_no_object_is_no_class_of_boxes():
    logits = np.full((1, 2, 4), -1.0, np.float32)
    logits[0, 0, 3], logits[0, 1, 2] = 9.0, 1.0
    boxes = BoxSet(jax.numpy.asarray(logits), jax.numpy.zeros((1, 2, 4)))
    outputs = SetDetectionOutputs((boxes,), has_no_object=True)
    assert predicted_class(outputs).tolist() == [2]
    assert class_score(outputs, jax.numpy.array([2])).tolist() == [1.0]
