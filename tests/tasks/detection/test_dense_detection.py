"""The loss of dense heads against float64 loops; what may not change it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_example import K, random_batch, random_outputs, task_of
from flax import nnx

from hybrid_jax.config import defaults
from hybrid_jax.outputs import DenseDetectionOutputs
from hybrid_jax.tasks.detection.dense_assignment import assign_centers
from hybrid_jax.tasks.detection.dense_detection import dense_candidates, dense_loss

OPTIONS = defaults().task.detection.to_dict()


@jax.jit
def _loss(outputs, batch, options):
    def total(outputs):
        mean = dense_loss(outputs, batch, options)
        return mean.total, mean

    (_, mean), slopes = jax.value_and_grad(total, has_aux=True)(outputs)
    return mean, slopes


def loss_of(outputs, batch, **changes):
    """Returns the `Mean` under the default options and these."""
    return jax.device_get(_loss(outputs, batch, OPTIONS | changes)[0])


def slopes_of(outputs, batch, **changes):
    """Returns the slopes of the total, in the shape of the outputs."""
    return jax.device_get(_loss(outputs, batch, OPTIONS | changes)[1])


def assigned(outputs, batch, *, center_radius=1.5):
    """Returns index and positive (B, N) before padding is left out."""
    boxes = {k: batch[k] for k in ("boxes_xyxy_px", "box_labels", "box_mask")}
    centers, strides = outputs.centers_xy_px, outputs.strides_px
    return _assign(centers, strides, **boxes, center_radius=center_radius)


_assign = jax.jit(assign_centers)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def overlaps(a, b):
    """Returns IoU and GIoU of two boxes, in Python's float64."""

    def area(x0, y0, x1, y1):
        return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)

    cut = area(*np.maximum(a[:2], b[:2]), *np.minimum(a[2:], b[2:]))
    hull = area(*np.minimum(a[:2], b[:2]), *np.maximum(a[2:], b[2:]))
    union = area(*a) + area(*b) - cut
    return cut / union, cut / union - (hull - union) / hull


def reference(outputs, batch, options):
    """Returns the weighted terms and the number of positives, cell by cell."""
    radius = options["center_radius"]
    index, positive = map(np.asarray, assigned(outputs, batch, center_radius=radius))
    outputs = jax.tree.map(np.asarray, outputs)
    terms, count = dict.fromkeys(("class", "giou", "quality"), 0.0), 0
    alpha, gamma = options["focal_alpha"], options["focal_gamma"]
    for i, n in np.ndindex(*index.shape):
        if not batch["mask"][i]:
            continue
        top, left, bottom, right = batch["content_yxyx_px"][i]
        x, y = np.asarray(outputs.centers_xy_px[n])
        found = positive[i, n] and left <= x < right and top <= y < bottom
        m = int(index[i, n])
        for k in range(K):
            p = sigmoid(outputs.logits[i, n, k])
            if found and k == batch["box_labels"][i, m]:
                terms["class"] -= alpha * (1 - p) ** gamma * np.log(p)
            else:
                terms["class"] -= (1 - alpha) * p**gamma * np.log(1 - p)
        if not found:
            continue
        pair = outputs.boxes_xyxy_px[i, n], batch["boxes_xyxy_px"][i, m]
        iou, giou = overlaps(*(np.float64(box) for box in pair))
        q = sigmoid(outputs.quality_logits[i, n])
        terms["giou"] += 1 - giou
        terms["quality"] -= iou * np.log(q) + (1 - iou) * np.log(1 - q)
        count += 1
    return {k: options[f"{k}_weight"] * v for k, v in terms.items()}, count


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(focal_alpha=0.6, focal_gamma=1.5, center_radius=0.8),
        dict(class_weight=0.5, giou_weight=3.0, quality_weight=0.25),
    ],
    ids=lambda changes: ",".join(changes) or "defaults",
)
def test_loss_equals_float64_loops(changes):
    outputs, batch = random_outputs(), random_batch()
    batch["mask"][1] = False
    batch["content_yxyx_px"][2] = (0, 0, 30, 44)
    mean = loss_of(outputs, batch, **changes)
    terms, count = reference(outputs, batch, OPTIONS | changes)
    assert mean.count == count > 10
    for name, value in terms.items():
        np.testing.assert_allclose(mean.parts[name], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(mean.total, sum(terms.values()), rtol=1e-4)


def test_order_of_boxes_does_not_change_the_loss():
    outputs, batch = random_outputs(), random_batch()
    batch["boxes_xyxy_px"][:, 1] = batch["boxes_xyxy_px"][:, 0]  # one box, two classes
    batch["box_labels"][:, :2] = (0, 1)
    order = np.asarray([3, 1, 4, 0, 2])
    moved = {k: v[:, order] for k, v in batch.items() if "box" in k}
    before, after = loss_of(outputs, batch), loss_of(outputs, batch | moved)
    assert before.count == after.count
    jax.tree.map(np.testing.assert_array_equal, before.parts, after.parts)


def test_padded_images_change_neither_loss_nor_slope():
    outputs, batch = random_outputs(), random_batch()
    real = np.asarray([True, False, True])
    spoilt = jax.tree.map(np.array, outputs)
    for name in ("logits", "quality_logits", "boxes_xyxy_px"):
        getattr(spoilt, name)[1] = np.nan
    padded = loss_of(spoilt, batch | dict(mask=real))
    all_three, second = loss_of(outputs, batch), loss_of(outputs, batch | dict(mask=~real))
    assert padded.count == all_three.count - second.count > 0
    np.testing.assert_allclose(padded.total, all_three.total - second.total, rtol=1e-5)
    slopes = slopes_of(spoilt, batch | dict(mask=real))
    for name in ("logits", "quality_logits", "boxes_xyxy_px"):
        moved = (getattr(slopes, name) != 0).reshape(3, -1).any(1)  # NaN is not zero
        np.testing.assert_array_equal(moved, real)


def test_cells_in_padding_claim_nothing():
    outputs, batch = random_outputs(), random_batch()
    batch["content_yxyx_px"][:] = (0, 0, 0, 0)
    mean = loss_of(outputs, batch)
    assert mean.count == 0
    assert mean.parts["giou"] == mean.parts["quality"] == 0


def test_images_without_objects_train():
    outputs, batch = random_outputs(), random_batch()
    batch["box_mask"][:] = False
    mean, slopes = loss_of(outputs, batch), slopes_of(outputs, batch)
    assert mean.count == 0
    assert mean.total == mean.parts["class"] > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert (slopes.logits > 0).all()  # every cell learns to say less


def test_quality_does_not_teach_the_box():
    outputs, batch = random_outputs(), random_batch()
    slopes = slopes_of(outputs, batch, giou_weight=0.0)
    assert np.abs(slopes.quality_logits).max() > 0
    np.testing.assert_array_equal(slopes.boxes_xyxy_px, 0)


def test_loss_falls_to_zero_for_the_right_answer():
    batch = random_batch()
    batch["box_mask"][:] = np.arange(5) < 1
    outputs = random_outputs()
    index, positive = assigned(outputs, batch)
    hot = jax.nn.one_hot(batch["box_labels"][:, :1], K) * positive[..., None]
    right = dataclasses.replace(
        outputs,
        logits=40.0 * hot - 20.0,
        quality_logits=jnp.full(index.shape, 20.0, jnp.float32),
        boxes_xyxy_px=jnp.broadcast_to(batch["boxes_xyxy_px"][:, :1], (*index.shape, 4)),
    )
    np.testing.assert_allclose(loss_of(right, batch).total, 0.0, atol=1e-3)


def test_scores_are_geometric_means_of_class_and_quality():
    outputs = random_outputs()
    boxes, scores = dense_candidates(outputs)
    expected = np.sqrt(sigmoid(outputs.logits) * sigmoid(outputs.quality_logits)[..., None])
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_array_equal(boxes, outputs.boxes_xyxy_px)


class Net(nnx.Module):
    """Two convolutions, a token mixer and a box for each of 8 x 8 cells.

    Of this kind are the programs in which an unguarded overlap has a NaN for a slope.
    """

    def __init__(self, rngs):
        self.first = nnx.Conv(3, 16, (3, 3), strides=4, rngs=rngs)
        self.norm = nnx.GroupNorm(16, num_groups=4, rngs=rngs)
        self.mix = nnx.MultiHeadAttention(2, 16, decode=False, rngs=rngs)
        self.last = nnx.Conv(16, 4 + 1 + K, (3, 3), strides=2, rngs=rngs)

    def __call__(self, images):
        x = nnx.relu(self.norm(self.first(images)))
        B, h, w, C = x.shape
        x = x + self.mix(x.reshape(B, h * w, C)).reshape(B, h, w, C)
        x = self.last(x).reshape(B, -1, 5 + K)
        rows, columns = jnp.indices((h // 2, w // 2)).reshape(2, -1)
        centers = 8.0 * jnp.stack([columns + 0.5, rows + 0.5], 1)
        away = 8.0 * jnp.exp(jnp.clip(x[..., :4], -3, 3))
        return DenseDetectionOutputs(
            logits=x[..., 5:],
            quality_logits=x[..., 4],
            boxes_xyxy_px=jnp.concatenate(
                [centers - away[..., :2], centers + away[..., 2:]], -1
            ),
            centers_xy_px=centers,
            strides_px=jnp.full(len(centers), 8.0),
        )


@pytest.mark.parametrize(
    "images", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 8)), 64]
)
def test_slope_of_a_network_is_finite_under_jit_at_any_batch_size(images):
    def build():
        return Net(nnx.Rngs(params=0))

    graph = nnx.graphdef(nnx.eval_shape(build))
    params = jax.jit(lambda: nnx.state(build()))()
    batch = random_batch(images, hw=(64, 64))
    batch["box_mask"][0] = images > 1  # an image without, and one with one object
    batch["box_mask"][-1] = np.arange(5) < (images > 1)

    @jax.jit
    def slope(params):
        def total(params):
            outputs = nnx.merge(graph, params)(batch["image"])
            return dense_loss(outputs, batch, OPTIONS).total

        return jax.grad(total)(params)

    for leaf in jax.tree.leaves(slope(params)):
        assert np.isfinite(leaf).all()


def test_task_takes_the_dense_loss_and_its_options():
    outputs, batch = random_outputs(), random_batch()
    mean = jax.jit(task_of(giou_weight=7.0).loss)(outputs, batch)
    plain = loss_of(outputs, batch)
    np.testing.assert_allclose(mean.parts["giou"], 3.5 * plain.parts["giou"], rtol=1e-5)
