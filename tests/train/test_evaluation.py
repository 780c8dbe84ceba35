"""Scores of a whole split, against the same sums over one image at a time."""

import jax
import numpy as np
import pytest
from train_examples import new_state, small_experiment

from hybrid_jax.config import changed
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.errors import BadImageError
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.train.evaluation import evaluate_split
from hybrid_jax.train.state import merge_model

INFO = DatasetInfo(num_classes=10, class_names=tuple("0123456789"))


class Noise:
    """37 random images in memory; those in `bad` cannot be read."""

    info = INFO

    def __init__(self, *, bad: tuple[int, ...] = ()):
        random = np.random.default_rng(0)
        self.images = random.integers(0, 256, (37, 16, 16, 3), np.uint8)
        self.labels = random.integers(0, 10, 37)
        self.bad = bad

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index in self.bad:
            raise BadImageError(f"image {index} cannot be read")
        return dict(image=self.images[index], label=int(self.labels[index]))


def lively(params):
    """Parameters of which every logit depends on every pixel."""
    leaves, tree = jax.tree.flatten(params)
    random = np.random.default_rng(1)
    noisy = [
        jax.device_put(
            np.asarray(leaf + 0.1 * random.normal(size=leaf.shape), np.float32),
            leaf.sharding,
        )
        for leaf in leaves
    ]
    return jax.tree.unflatten(tree, noisy)


def scores_of(experiment, state, source, *, batch_size, on_bad_image="raise"):
    data = changed(experiment.config.data, {"on_bad_image": on_bad_image})
    return evaluate_split(
        experiment.jitted_eval_step(),
        state,
        source,
        task=experiment.task,
        data=data,
        batch_size=batch_size,
        sharding=experiment.batch_sharding,
        progress=False,
    )


_found: dict[tuple, dict] = {}  # all meshes begin with the same parameters


def brute_force(experiment, state, source):
    """Returns loss, top1, top5 and count, in float64 and without batches."""
    if source.bad not in _found:
        _found[source.bad] = _scored(experiment, jax.device_get(state), source)
    return _found[source.bad]


def _scored(experiment, state, source):
    @jax.jit
    def logits_of(params, mutable, images):
        model = merge_model(experiment.graph, params, mutable)
        return model(normalize_image(images, policy="half")).logits

    chosen = [index for index in range(len(source)) if index not in source.bad]
    labels = source.labels[chosen]
    images = source.images[chosen]
    logits = np.asarray(logits_of(state.params, state.mutable, images), np.float64)
    own = logits[np.arange(len(chosen)), labels]
    rank = (logits > own[:, None]).sum(1)
    return dict(
        loss=np.mean(np.log(np.exp(logits).sum(1)) - own),
        top1=np.mean(rank < 1),
        top5=np.mean(rank < 5),
        count=len(chosen),
    )


@pytest.mark.parametrize(
    ("mesh", "batch_size"),
    [("single", 10), ("data8", 8), ("data8", 40), ("fsdp8", 16)],
)
def test_scores_do_not_depend_on_batches_or_devices(mesh, batch_size):
    experiment = small_experiment(mesh=mesh)
    state = new_state(experiment)
    state = state.replace(params=lively(state.params))
    found = scores_of(experiment, state, Noise(), batch_size=batch_size)
    expected = brute_force(experiment, state, Noise())
    assert 0.0 < expected["top1"] < expected["top5"] < 1.0
    assert found["count"] == 37
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    for name in ("top1", "top5"):  # whole hits over 37: exact
        assert found[name] == pytest.approx(expected[name], abs=1e-12)
    assert "skipped" not in found


def test_unreadable_images_are_counted_and_left_out():
    experiment = small_experiment()
    state = new_state(experiment)
    state = state.replace(params=lively(state.params))
    source = Noise(bad=(3, 20, 36))
    found = scores_of(experiment, state, source, batch_size=8, on_bad_image="skip")
    expected = brute_force(experiment, state, source)
    assert found["skipped"] == 3
    assert found["count"] == expected["count"] == 34
    for name in ("loss", "top1", "top5"):
        assert found[name] == pytest.approx(expected[name], abs=1e-5)


def test_unreadable_image_ends_the_evaluation_where_none_may_be_skipped():
    experiment = small_experiment()
    with pytest.raises(BadImageError, match="image 20 cannot be read"):
        scores_of(experiment, new_state(experiment), Noise(bad=(20,)), batch_size=8)


def test_averaged_parameters_are_used_where_there_are_some():
    plain, averaged = small_experiment(), small_experiment({"train.ema_decay": 0.9})
    state = new_state(plain)
    good = lively(state.params)
    expected = scores_of(plain, state.replace(params=good), Noise(), batch_size=8)
    state = new_state(averaged).replace(ema=good)
    assert scores_of(averaged, state, Noise(), batch_size=8) == expected


def test_evaluation_compiles_once_with_a_ragged_last_batch():
    # No other test has a step of this seed, which would have been compiled before.
    experiment = small_experiment({"seed": 7})
    state = new_state(experiment)
    eval_step = experiment.jitted_eval_step()
    for _ in range(2):
        evaluate_split(
            eval_step,
            state,
            Noise(),
            task=experiment.task,
            data=experiment.config.data,
            batch_size=8,
            sharding=experiment.batch_sharding,
            progress=False,
        )
    assert eval_step._cache_size() == 1
