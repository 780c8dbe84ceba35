"""A task whose loss has terms and whose scores need every prediction, with its head.

Its numbers are easy to state again in numpy: of a row with label k and logits z,

    near = k * mean(z^2),   far = |sum(z)|,   loss = sum(near + far) / sum(k + 1)

over the real rows. What it divides by is no number of rows, as with boxes.
"""

import contextlib

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.contracts import Mean
from hybrid_jax.models.heads import HEADS
from hybrid_jax.outputs import ClassificationOutputs
from hybrid_jax.tasks import TASKS

# One block, since most of a test is compilation.
ONE_BLOCK = {
    "model.fusion": "vit",
    "model.vit_options.depth": 1,
    "model.vit_options.patch_size": 8,
}
TOY = ONE_BLOCK | {"task.name": "toy", "model.head": "toy"}


class ToyHead(nnx.Module):
    """Three numbers for each image, never zero."""

    task = "toy"
    strides = ()

    def __init__(self, channels, *, width, num_classes, dtype, rngs):
        self.logits = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, features, *, train=False, key=None):
        return ClassificationOutputs(self.logits(features.pooled))


class ToyTask:
    """See the module.

    Attributes:
        sizes: (H, W) of the images seen in training and in evaluation.
        scorers: all it has made.
    """

    targets = ("label",)
    main_score = "seen"

    def __init__(self, task, info):
        self.sizes = dict(train=set(), evaluate=set())
        self.scorers = []

    @staticmethod
    def num_classes(info):
        return 3

    def augment(self, batch, *, key):
        self.sizes["train"].add(batch["image"].shape[1:3])
        return batch

    def loss(self, outputs, batch):
        z, mask = outputs.logits, batch["mask"]
        weight = batch["label"]
        terms = dict(near=weight * jnp.mean(z**2, -1), far=jnp.abs(z.sum(-1)))
        parts = {name: jnp.sum(jnp.where(mask, x, 0.0)) for name, x in terms.items()}
        count = jnp.sum(jnp.where(mask, weight + 1, 0))
        return Mean(sum(parts.values()), count.astype(jnp.float32), parts)

    def infer(self, model, image, **options):
        self.sizes["evaluate"].add(image.shape[1:3])
        return model(image, **options)

    def metrics(self, outputs, batch):
        return dict(count=jnp.sum(batch["mask"], dtype=jnp.float32))

    def predict(self, outputs, batch):
        # What tells one image from every other, as the device saw it.
        return dict(sum=jnp.sum(batch["image"].astype(jnp.int32), (1, 2, 3)))

    def scorer(self, source):
        self.scorers.append(ToyScorer(source))
        return self.scorers[-1]

    def summarize(self, sums):
        return dict(count=int(sums["count"]))


class ToyScorer:
    """Keeps all it is given."""

    def __init__(self, source):
        self.source = source
        self.rows = []
        self.written = []

    def add(self, predictions, index):
        assert predictions.keys() == {"sum"}
        self.rows += zip(index.tolist(), predictions["sum"].tolist(), strict=True)

    def scores(self):
        return dict(seen=len(self.rows) / len(self.source))

    def write(self, stem):
        self.written.append((stem, len(self.rows)))


@contextlib.contextmanager
def registered(**tasks):
    """Adds tasks, by default "toy", and the toy head to the registries for a while."""
    added = ((TASKS, tasks or dict(toy=ToyTask)), (HEADS, dict(toy=ToyHead)))
    with pytest.MonkeyPatch.context() as patch:
        for registry, more in added:
            registry.names()  # all files are read before
            patch.setattr(registry, "_entries", registry._entries | more)
        yield


def reference_loss(logits, batch):
    """Returns `loss`, `loss_near` and `loss_far` of one batch, in float64."""
    z, real = np.asarray(logits, np.float64), np.asarray(batch["mask"])
    weight = np.asarray(batch["label"], np.float64)
    near = (weight * (z**2).mean(1))[real].sum()
    far = np.abs(z.sum(1))[real].sum()
    sums = dict(loss=near + far, loss_near=near, loss_far=far)
    return {name: value / (weight + 1)[real].sum() for name, value in sums.items()}
