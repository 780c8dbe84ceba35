"""The classification task: one label per image."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hybrid_jax.contracts import DatasetInfo, Mean, Source
from hybrid_jax.errors import UserError
from hybrid_jax.outputs import ClassificationOutputs
from hybrid_jax.tasks import TASKS
from hybrid_jax.tasks.bar_panel import draw_bars
from hybrid_jax.tasks.classification.calibration import calibration_error, calibration_sums
from hybrid_jax.tasks.classification.findings import ClassificationFindings
from hybrid_jax.tasks.classification.mix import cutmix, erase, flip, mixup
from hybrid_jax.tasks.json_predictions import labels_to_json


@TASKS.register("classification")
class Classification:
    """Softmax or sigmoid loss; top-1, top-5, calibration and factor accuracies.

    Args:
        task: the `task` branch of a config.
        info: classes of the data set; the accuracy of each factor is reported too.
    """

    targets = ("label",)
    main_score = "top1"

    def __init__(self, task: Mapping[str, Any], info: DatasetInfo):
        self.task = task
        self.info = info

    @staticmethod
    def num_classes(info: DatasetInfo) -> int:
        """Returns the number of classes.

        Raises:
            UserError: the data has no labels.
        """
        if not info.num_classes:
            raise UserError(
                "config.task.name: 'classification' needs a label for every image, but the "
                "data has no labels. Choose another data.name or task.name."
            )
        return info.num_classes

    def infer(
        self, model: Callable[..., ClassificationOutputs], image: jax.Array, **options: Any
    ) -> ClassificationOutputs:
        """Applies the model once."""
        return model(image, **options)

    def predict(
        self, outputs: ClassificationOutputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns the most probable classes of each image.

        Returns:
            `top_labels` (B, min(5, K)) int32 and `top_probabilities` float32, best first.
        """
        probabilities = self.probabilities(outputs.logits)
        best, labels = jax.lax.top_k(probabilities, min(5, probabilities.shape[1]))
        return dict(top_labels=labels, top_probabilities=best)

    def draw(self, image_u8: np.ndarray, prediction: Mapping[str, Any]) -> np.ndarray:
        """Draws the most probable classes as bars beside the image."""
        labels = self.to_json(prediction)["labels"]
        names = [row["name"] for row in labels]
        shares = [row["probability"] for row in labels]
        return draw_bars(image_u8, names=names, shares=shares)

    def to_json(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the most probable classes with names and probabilities."""
        return labels_to_json(prediction, names=self.info.class_names)

    def scorer(self, source: Source) -> None:
        """Returns None: `metrics` gives all scores."""

    def findings(self, source: Source) -> ClassificationFindings:
        """Returns what an evaluation of a split is to show."""
        return ClassificationFindings(source.info)

    def augment(
        self, batch: Mapping[str, jax.Array], *, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Applies flip, erasing, mixup and cutmix; adds `target` (B, K), the class weights.

        Args:
            batch: with `image` (B, H, W, 3) normalized floats and `label` (B,).
        """
        task, image = self.task, batch["image"]
        key_flip, key_erase, key_choice, key_mix = jax.random.split(key, 4)
        if task["flip"]:
            image = flip(image, rate=task["flip"], key=key_flip)
        if task["erase"]:
            image = erase(image, rate=task["erase"], key=key_erase)
        target = jax.nn.one_hot(batch["label"], self.info.num_classes)

        def mixed(image, target):
            return mixup(image, target, alpha=task["mixup"], key=key_mix)

        def cut(image, target):
            return cutmix(image, target, alpha=task["cutmix"], key=key_mix)

        if task["mixup"] and task["cutmix"]:
            choice = jax.random.bernoulli(key_choice)
            image, target = jax.lax.cond(choice, mixed, cut, image, target)
        elif task["mixup"]:
            image, target = mixed(image, target)
        elif task["cutmix"]:
            image, target = cut(image, target)
        return dict(batch, image=image, target=target)

    def loss(self, outputs: ClassificationOutputs, batch: Mapping[str, jax.Array]) -> Mean:
        """Returns the sum of the cross-entropy over rows without padding, and their count.

        Args:
            batch: with `mask` and `target`, or `label` if there is no `target`.
        """
        losses = self._losses(outputs.logits, batch, self.task["label_smoothing"])
        mask = batch["mask"]
        # where() instead of a product: a padded row may be NaN.
        losses = jnp.where(mask, losses, 0.0)
        return Mean(jnp.sum(losses), jnp.sum(mask, dtype=jnp.float32))

    def metrics(
        self, outputs: ClassificationOutputs, batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns sums over rows without padding: count, loss, top-1, top-5, ECE.

        There is no top-5 of five classes or fewer, where every answer is among them.
        """
        logits, label, mask = outputs.logits, batch["label"], batch["mask"]
        # The rank is the number of classes with logits not below the label's: ties count as
        # errors, so that constant logits score 0.
        own = jnp.take_along_axis(logits, label[:, None], axis=1)
        others = jnp.arange(logits.shape[1]) != label[:, None]
        rank = jnp.sum(~(logits < own) & others, axis=1)
        probabilities = self.probabilities(logits)
        sums = dict(
            count=mask.sum(),
            loss=jnp.sum(jnp.where(mask, self._losses(logits, batch, 0.0), 0.0)),
            top1=jnp.sum((rank < 1) & mask),
            calibration=calibration_sums(probabilities.max(1), rank < 1, mask),
        )
        if logits.shape[1] > 5:
            sums["top5"] = jnp.sum((rank < 5) & mask)
        predicted = logits.argmax(1)
        for name, group_of in self.info.factors.items():
            group = jnp.asarray(np.asarray(group_of, np.int32))
            sums[f"top1_{name}"] = jnp.sum((group[predicted] == group[label]) & mask)
        return {name: value.astype(jnp.float32) for name, value in sums.items()}

    def summarize(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the scores of a split: averages of the sums, `ece` and `count`."""
        count = float(sums["count"])
        scores = {
            name: float(value) / max(count, 1.0)
            for name, value in sums.items()
            if name not in ("count", "calibration")
        }
        return scores | dict(ece=calibration_error(sums["calibration"]), count=int(count))

    def probabilities(self, logits) -> jax.Array:
        """Returns class probabilities (B, K) float32 of logits (B, K)."""
        softmax = self.task["loss"] == "softmax"
        return jax.nn.softmax(logits) if softmax else jax.nn.sigmoid(logits)

    def _losses(self, logits, batch, label_smoothing) -> jax.Array:
        """Returns the loss of each row, (B,) float32."""
        target = batch.get("target")
        if target is None:
            target = jax.nn.one_hot(batch["label"], logits.shape[1])
        if label_smoothing:
            target = optax.smooth_labels(target, label_smoothing)
        logits = logits.astype(jnp.float32)
        if self.task["loss"] == "softmax":
            return optax.softmax_cross_entropy(logits, target)
        return optax.sigmoid_binary_cross_entropy(logits, target).sum(-1)
