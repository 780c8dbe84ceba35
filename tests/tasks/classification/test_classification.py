"""Losses and metrics against numpy; what masks and batches may not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybrid_jax.config import defaults
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.outputs import ClassificationOutputs
from hybrid_jax.tasks import TASKS

K = 7
FACTORS = dict(texture=(0, 0, 0, 1, 1, 2, 2))


def task_of(num_classes=K, *, factors=None, **options):
    branch = defaults().task
    branch.update(options)
    names = tuple(f"class {k}" for k in range(num_classes))
    info = DatasetInfo(num_classes, names, factors=factors or {})
    return TASKS.get("classification")(branch, info)


def example(rows=11, *, num_classes=K, seed=0):
    """Returns (logits, batch), every third row padding."""
    rng = np.random.default_rng(seed)
    logits = 3.0 * rng.standard_normal((rows, num_classes)).astype(np.float32)
    label = rng.integers(0, num_classes, rows).astype(np.int32)
    return logits, dict(label=label, mask=np.arange(rows) % 3 != 1)


def outputs(logits):
    return ClassificationOutputs(jnp.asarray(logits))


# Compiled as one program, not one for each operation.
def loss_of(task, logits, batch):
    return jax.tree.map(np.asarray, jax.jit(task.loss)(outputs(logits), batch))


def sums_of(task, logits, batch):
    return jax.tree.map(np.asarray, jax.jit(task.metrics)(outputs(logits), batch))


def scores(task, logits, batch):
    return task.summarize(sums_of(task, logits, batch))


# --- loss -------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_loss_equals_reference(smoothing):
    logits, batch = example()
    target = (1 - smoothing) * np.eye(K)[batch["label"]] + smoothing / K
    losses = -(target * special.log_softmax(logits.astype(np.float64), axis=1)).sum(1)
    mean = loss_of(task_of(label_smoothing=smoothing), logits, batch)
    np.testing.assert_allclose(mean.total, losses[batch["mask"]].sum(), rtol=1e-5)
    assert mean.count == batch["mask"].sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sigmoid_loss_sums_over_classes(smoothing):
    logits, batch = example()
    target = (1 - smoothing) * np.eye(K)[batch["label"]] + smoothing / K
    p = special.expit(logits.astype(np.float64))
    losses = -(target * np.log(p) + (1 - target) * np.log(1 - p)).sum(1)
    mean = loss_of(task_of(loss="sigmoid", label_smoothing=smoothing), logits, batch)
    np.testing.assert_allclose(mean.total, losses[batch["mask"]].sum(), rtol=1e-5)


def test_loss_reads_the_mixed_target_where_there_is_one():
    logits, batch = example()
    rng = np.random.default_rng(1)
    batch["target"] = rng.dirichlet(np.ones(K), 11).astype(np.float32)
    losses = -(batch["target"] * special.log_softmax(logits, axis=1)).sum(1)
    mean = loss_of(task_of(), logits, batch)
    np.testing.assert_allclose(mean.total, losses[batch["mask"]].sum(), rtol=1e-5)


def test_loss_is_float32_for_bfloat16_logits():
    logits, batch = example()
    mean = loss_of(task_of(), logits.astype(jnp.bfloat16), batch)
    assert mean.total.dtype == jnp.float32


def test_reported_loss_is_not_smoothed():
    logits, batch = example()
    plain = scores(task_of(), logits, batch)["loss"]
    assert scores(task_of(label_smoothing=0.3), logits, batch)["loss"] == plain


# --- masks ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_padded_rows_change_nothing(kind):
    task = task_of(loss=kind, factors=FACTORS)
    logits, batch = example()
    real = batch["mask"]
    garbage = np.where(real[:, None], logits, 1e4).astype(np.float32)
    labels = np.where(real, batch["label"], 0).astype(np.int32)
    kept = {name: value[real] for name, value in batch.items()}
    padded = dict(label=labels, mask=real)
    found = scores(task, garbage, padded)
    for name, value in scores(task, logits[real], kept).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
    whole, part = loss_of(task, garbage, padded), loss_of(task, logits[real], kept)
    np.testing.assert_allclose(whole.total, part.total, rtol=1e-5)
    assert whole.count == part.count


def test_padded_rows_have_no_gradient():
    logits, batch = example()
    slope = jax.jit(jax.grad(lambda x: task_of().loss(outputs(x), batch).total))
    gradient = slope(jnp.asarray(logits))
    rows = np.abs(np.asarray(gradient)).max(1)
    np.testing.assert_array_equal(rows > 0, batch["mask"])


def test_batch_of_padding_alone_scores_zero_and_not_nan():
    logits, batch = example()
    batch["mask"] = np.zeros(11, bool)
    result = scores(task_of(factors=FACTORS), logits, batch)
    assert set(result.values()) == {0.0}


# --- scores -----------------------------------------------------------------------------


def test_top1_and_top5_equal_a_sort():
    logits, batch = example(200)
    order = np.argsort(-logits, axis=1)
    hit = order == batch["label"][:, None]
    real = batch["mask"]
    result = scores(task_of(), logits, batch)
    np.testing.assert_allclose(result["top1"], hit[real, :1].any(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(result["top5"], hit[real, :5].any(1).mean(), rtol=1e-6)
    assert result["count"] == real.sum()


def test_ties_count_against_the_row():
    batch = dict(label=np.asarray([0, 3, 6]), mask=np.ones(3, bool))
    result = scores(task_of(), np.zeros((3, K), np.float32), batch)
    assert result["top1"] == 0.0
    assert result["top5"] == 0.0
    logits = np.zeros((3, K), np.float32)
    logits[[0, 1, 2], [0, 3, 6]] = 1.0
    logits[0, 1] = 1.0  # as high as the label's
    assert scores(task_of(), logits, batch)["top1"] == pytest.approx(2 / 3)


def test_nan_logits_are_no_hits():
    batch = dict(label=np.asarray([0, 3]), mask=np.ones(2, bool))
    result = scores(task_of(), np.full((2, K), np.nan, np.float32), batch)
    assert result["top1"] == 0.0
    assert np.isnan(result["loss"])


@pytest.mark.parametrize(("num_classes", "told"), [(5, False), (6, True)])
def test_top5_is_told_of_more_than_five_classes(num_classes, told):
    logits, batch = example(num_classes=num_classes)
    assert ("top5" in scores(task_of(num_classes), logits, batch)) == told


def test_factor_accuracy_counts_classes_of_the_same_group():
    logits, batch = example(200)
    group = np.asarray(FACTORS["texture"])
    hit = group[logits.argmax(1)] == group[batch["label"]]
    result = scores(task_of(factors=FACTORS), logits, batch)
    np.testing.assert_allclose(result["top1_texture"], hit[batch["mask"]].mean(), rtol=1e-6)
    assert result["top1_texture"] > result["top1"]


@pytest.mark.parametrize(
    ("kind", "probability"), [("softmax", special.softmax), ("sigmoid", special.expit)]
)
def test_ece_is_that_of_the_probability_of_the_prediction(kind, probability):
    logits, batch = example(200)
    p = probability(logits, axis=1) if kind == "softmax" else probability(logits)
    real, confidence = batch["mask"], p.max(1)
    correct = logits.argmax(1) == batch["label"]
    index = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs((confidence - correct)[real & (index == k)].sum()) for k in range(15)]
    result = scores(task_of(loss=kind), logits, batch)
    np.testing.assert_allclose(result["ece"], sum(gaps) / real.sum(), rtol=1e-4)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_sums_over_batches_equal_the_whole_set(kind):
    task = task_of(loss=kind, factors=FACTORS)
    logits, batch = example(23)
    whole = sums_of(task, logits, batch)
    parts = [
        sums_of(task, logits[rows], {k: v[rows] for k, v in batch.items()})
        for rows in (slice(0, 5), slice(5, 16), slice(16, 23))
    ]
    total = jax.tree.map(lambda *x: sum(x), *parts)
    for name in whole:
        np.testing.assert_allclose(total[name], whole[name], rtol=1e-5, err_msg=name)


# --- augmentation -----------------------------------------------------------------------


def training_batch():
    rng = np.random.default_rng(0)
    image = np.float32(rng.standard_normal((5, 6, 9, 3)))
    return dict(image=image, label=np.arange(5), mask=np.ones(5, bool))


def augmented(task):
    """Returns the compiled augmentation: one program, not one for each operation."""
    return jax.jit(task.augment)


def test_augment_without_options_changes_no_pixel():
    batch = training_batch()
    out = augmented(task_of())(batch, key=jax.random.key(0))
    np.testing.assert_array_equal(out["image"], batch["image"])
    np.testing.assert_array_equal(out["target"], np.eye(K)[:5])
    assert out.keys() == {"image", "label", "mask", "target"}


@pytest.mark.parametrize("option", ["flip", "erase", "mixup", "cutmix"])
def test_augment_option_changes_pixels(option):
    batch = training_batch()
    out = augmented(task_of(**{option: 1.0}))(batch, key=jax.random.key(0))
    assert np.abs(np.asarray(out["image"]) - batch["image"]).max() > 0.0
    np.testing.assert_allclose(np.asarray(out["target"]).sum(1), 1.0, rtol=1e-6)


def test_mixup_and_cutmix_together_draw_one_of_them():
    augment, batch = augmented(task_of(mixup=1.0, cutmix=1.0)), training_batch()
    pasted = []
    for seed in range(12):
        image = np.asarray(augment(batch, key=jax.random.key(seed))["image"])
        neighbor = np.roll(batch["image"], 1, axis=0)
        whole = (image == np.asarray(batch["image"])) | (image == neighbor)
        pasted.append(bool(whole.all()))
    assert len(set(pasted)) == 2


def test_unknown_task_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'classification'"):
        TASKS.get("classificaton")
