"""Loss and metrics of pixels against numpy; what flips and padding may not change."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybrid_jax.config import defaults
from hybrid_jax.contracts import VOID, DatasetInfo
from hybrid_jax.errors import UserError
from hybrid_jax.outputs import SegmentationOutputs
from hybrid_jax.tasks import TASKS

K = 4
NAMES = tuple(f"class {k}" for k in range(K))


def task_of(*, info=None, segmentation=None, **options):
    branch = defaults().task
    branch.update(options)
    branch.segmentation.update(segmentation or {})
    info = info or DatasetInfo(segmentation_names=NAMES, largest_hw=(40, 50))
    return TASKS.get("segmentation")(branch, info)


def example(*, rows=5, hw=(10, 13), seed=0):
    """Returns (outputs, batch): void pixels, void rows at the bottom, a padded row."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, (rows, *hw)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = VOID
    labels[:, 8:] = VOID
    outputs = SegmentationOutputs(
        logits=jnp.asarray(rng.standard_normal((rows, 10, 13, K)), jnp.float32),
        stride=1,
        auxiliary=jnp.asarray(rng.standard_normal((rows, 10, 13, K)), jnp.float32),
        auxiliary_stride=1,
    )
    batch = dict(segmentation=labels, mask=np.arange(rows) != 2)
    return outputs, jax.tree.map(jnp.asarray, batch)


@functools.partial(jax.jit, static_argnames="weight")
def measured(outputs, batch, *, weight=0.4):
    """Returns (loss, metrics), compiled."""
    task = task_of(segmentation=dict(auxiliary_weight=weight))
    return task.loss(outputs, batch), task.metrics(outputs, batch)


def losses_of(logits, batch):
    """Returns the float64 loss of each valid pixel of a real row."""
    labels = np.asarray(batch["segmentation"])
    real = (labels != VOID) & np.asarray(batch["mask"])[:, None, None]
    scores = np.asarray(logits, np.float64)[real]
    return -special.log_softmax(scores, -1)[np.arange(len(scores)), labels[real]]


# --- loss -------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.4, 0.0])
def test_loss_is_the_sum_over_valid_pixels_of_real_rows(weight):
    outputs, batch = example()
    mean, _ = measured(outputs, batch, weight=weight)
    main, second = (losses_of(x, batch) for x in (outputs.logits, outputs.auxiliary))
    np.testing.assert_allclose(mean.total, main.sum() + weight * second.sum(), rtol=1e-5)
    np.testing.assert_allclose(mean.parts["main"], main.sum(), rtol=1e-5)
    np.testing.assert_allclose(mean.parts["auxiliary"], weight * second.sum(), rtol=1e-5)
    assert mean.count == len(main)


def test_loss_without_second_reading_has_no_parts():
    outputs, batch = example()
    mean, _ = measured(outputs.replace(auxiliary=None), batch)
    assert not mean.parts
    np.testing.assert_allclose(
        mean.total, losses_of(outputs.logits, batch).sum(), rtol=1e-5
    )


def test_sums_over_micro_batches_equal_the_whole_batch():
    pair = example(rows=6)
    whole = measured(*pair)
    parts = [
        measured(*jax.tree.map(lambda x, rows=rows: x[rows], pair))
        for rows in (slice(0, 3), slice(3, 6))
    ]
    total = jax.tree.map(lambda *x: np.sum(x), *parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), total, whole)


def test_gradient_of_one_padded_row_of_nan_is_finite_elsewhere():
    outputs, batch = example()
    logits = outputs.logits.at[2].set(jnp.nan)
    task = task_of()

    def total(logits):
        return task.loss(outputs.replace(logits=logits), batch).total

    gradient = np.asarray(jax.jit(jax.grad(total))(logits))
    assert np.isfinite(np.delete(gradient, 2, axis=0)).all()


# --- metrics ----------------------------------------------------------------------------


def test_metrics_are_averages_over_valid_pixels():
    task, (outputs, batch) = task_of(), example()
    scores = task.summarize(jax.tree.map(np.asarray, measured(outputs, batch)[1]))
    losses, labels = losses_of(outputs.logits, batch), np.asarray(batch["segmentation"])
    real = (labels != VOID) & np.asarray(batch["mask"])[:, None, None]
    hits = (np.asarray(outputs.logits).argmax(-1) == labels)[real]
    assert scores.keys() == {"loss", "pixel_accuracy", "count"}
    assert scores["count"] == 4
    np.testing.assert_allclose(scores["loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["pixel_accuracy"], hits.mean(), rtol=1e-6)


def test_counts_are_exact_where_float32_is_not():
    _, sums = measured(*example())
    kinds = {sums[name].dtype for name in ("count", "pixels", "pixel_accuracy")}
    assert kinds == {jnp.dtype("int32")}


# --- augmentation -----------------------------------------------------------------------


def test_flip_moves_image_mask_and_rectangle_alike():
    rng = np.random.default_rng(0)
    W = 9
    labels = rng.integers(0, K, (8, 6, W)).astype(np.uint8)
    image = np.repeat(labels[..., None], 3, -1).astype(np.float32)
    content = np.array([[0, 1, 5, 7]] * 8, np.int32)
    batch = dict(image=image, segmentation=labels, content_yxyx_px=content)
    out = task_of(flip=0.5).augment(jax.tree.map(jnp.asarray, batch), key=jax.random.key(1))
    changed = 0
    for row in range(8):
        flipped = not np.array_equal(out["segmentation"][row], labels[row])
        changed += flipped
        wanted = labels[row][:, ::-1] if flipped else labels[row]
        np.testing.assert_array_equal(out["segmentation"][row], wanted)
        np.testing.assert_array_equal(out["image"][row, ..., 0], wanted)
        left, right = (W - 7, W - 1) if flipped else (1, 7)
        np.testing.assert_array_equal(out["content_yxyx_px"][row], [0, left, 5, right])
    assert 0 < changed < 8
    assert out["segmentation"].dtype == jnp.uint8


def test_without_options_nothing_is_changed():
    batch = dict(image=jnp.ones((2, 3, 4, 3)), segmentation=jnp.ones((2, 3, 4), jnp.uint8))
    out = task_of().augment(batch, key=jax.random.key(0))
    assert out == batch


# --- predictions ------------------------------------------------------------------------


def test_a_prediction_is_drawn_and_told_without_its_canvas():
    canvas = np.full((40, 50), VOID, np.uint8)
    canvas[:6, :10] = 1
    canvas[:3, :10] = 2
    row = dict(segmentation=canvas, original_hw=np.array([6, 10]))
    task = task_of()
    found = task.to_json(row)["classes"]
    assert [(c["name"], c["share"]) for c in found] == [("class 1", 0.5), ("class 2", 0.5)]
    picture = task.draw(np.zeros((6, 10, 3), np.uint8), row)
    assert picture.dtype == np.uint8
    assert len({tuple(color) for color in picture.reshape(-1, 3)}) > 2


# --- what users get wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(segmentation=dict(slide_stride=1.5)), r"slide_stride: expected a fraction"),
        (dict(segmentation=dict(scales=(0.0, 1.0))), r"scales: expected one or more"),
        (dict(segmentation=dict(canvas=(30, 60))), r"canvas: expected at least \(40, 50\)"),
        (dict(segmentation=dict(canvas=(512,))), r"segmentation.canvas: expected a pair"),
        (dict(segmentation=dict(canvas=(64, 0))), r"segmentation.canvas: expected a pair"),
        (dict(info=DatasetInfo(segmentation_names=NAMES)), "canvas: expected a pair"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        task_of(**options)


@pytest.mark.parametrize(
    ("canvas", "largest", "wanted"),
    [(None, (40, 64), (64, 64)), ((41, 50), (40, 50), (41, 50)), (70, None, (70, 70))],
)
def test_canvas_is_the_users_or_the_datas(canvas, largest, wanted):
    info = DatasetInfo(segmentation_names=NAMES, largest_hw=largest)
    assert task_of(info=info, segmentation=dict(canvas=canvas)).canvas_hw == wanted


def test_classes_are_those_of_the_masks():
    count = TASKS.get("segmentation").num_classes
    assert count(DatasetInfo(segmentation_names=NAMES, num_classes=9)) == K
    with pytest.raises(UserError, match="needs masks, but the data has no masks"):
        count(DatasetInfo(num_classes=9))
    with pytest.raises(UserError, match="at most 255 classes of pixels.* got 256"):
        count(DatasetInfo(segmentation_names=("x",) * 256))


def test_split_of_larger_images_than_the_canvas_is_refused():
    class Split:
        info = DatasetInfo(segmentation_names=NAMES, largest_hw=(80, 50))

    with pytest.raises(UserError, match=r"at least \(80, 50\) px, the size of the largest"):
        task_of().scorer(Split())
