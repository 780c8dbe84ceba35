"""Attacks against losses whose worst case is known, and on models of every task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from saved_run import TASKS, config_of, saved

from hybrid_jax.contracts import Source
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.errors import UserError
from hybrid_jax.robustness.changed_batch import BatchChanger
from hybrid_jax.robustness.moving.known_truth import KnownTruth
from hybrid_jax.robustness.passes import CLEAN, Pass
from hybrid_jax.robustness.score_passes import PassScorer
from hybrid_jax.robustness.suite import Draw
from hybrid_jax.robustness.suites import SUITES

pytestmark = pytest.mark.usefixtures("one_device")


def attacked(line, strength, *, image, gradient):
    batch = dict(image=jnp.asarray(image, jnp.uint8), index=jnp.arange(len(image)))
    draw = Draw(line, jnp.float32(strength), jax.random.key(0))
    change = SUITES.get("attacks")().change
    return np.asarray(change(batch, draw, loss_gradient=gradient)["image"])


@pytest.mark.parametrize("line", ["fgsm", "pgd"])
@pytest.mark.parametrize("strength", [0.5, 8.0])
def test_attack_on_a_linear_loss_is_the_worst_there_is(line, strength):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (2, 5, 7, 3))
    weight = random.standard_normal(image.shape).astype(np.float32)
    found = attacked(line, strength, image=image, gradient=lambda x: jnp.asarray(weight))
    expected = np.clip(image + strength * np.sign(weight), 0, 255)
    np.testing.assert_array_equal(found, expected)


def test_pgd_goes_on_where_one_step_goes_astray():
    # The loss is least at 100.25 and 0.75 away from it at most within half a level.
    image = np.full((1, 9, 9, 3), 100)
    found = attacked("pgd", 1.0, image=image, gradient=lambda x: 2.0 * (x - 100.25))
    assert set(np.unique(found)) == {99.0, 101.0}
    one_step = attacked("fgsm", 1.0, image=image, gradient=lambda x: 2.0 * (x - 100.25))
    assert set(np.unique(one_step)) == {99.0}


def test_perturbation_reaches_its_bound_and_never_passes_it():
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3))
    for line in ("fgsm", "pgd"):
        for strength in (1 / 3, 2.0, 7.7):
            found = attacked(
                line, strength, image=image, gradient=lambda x: jnp.sin(40.0 * x)
            )
            away = np.abs(found - image.astype(np.float32))
            # image + strength is rounded once.
            assert away.max() <= np.float32(strength) + 2e-5
            assert away.max() >= np.float32(strength) - 2e-5
            assert found.min() >= 0
            assert found.max() <= 255


EXAMPLES = 2  # PGD is ten passes with gradients


class First(Source):
    """The first examples of a source."""

    def __init__(self, source):
        self.source, self.info = source, source.info

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, index):
        return self.source[index]


@pytest.mark.parametrize(
    "task",
    [
        "classification",
        *(pytest.param(task, marks=pytest.mark.slow) for task in list(TASKS)[1:]),
    ],
)
def test_attacks_raise_the_loss_and_none_is_the_clean_score(task, tmp_path):
    experiment, state = saved(epath.Path(tmp_path), config_of(task))
    state = jax.device_put(state, experiment.shardings)
    source = First(experiment.source)
    scorer = PassScorer(experiment, state, KnownTruth(source))
    lines = ["fgsm", "pgd"] if task == "classification" else ["fgsm"]
    weaker = [Pass("attacks", line, 0.5) for line in lines]
    stronger = [Pass("attacks", line, 4.0) for line in lines]
    nothing = Pass("attacks", lines[-1], 0.0)
    wanted = dict(data=experiment.eval_data, targets=experiment.task.targets)
    stream = eval_batches(source, **wanted, batch_size=EXAMPLES)
    passes = [CLEAN, nothing, *weaker, *stronger]
    found = scorer.scores(stream, passes, advance=lambda: None)
    assert found[nothing] == pytest.approx(found[CLEAN], rel=1e-6)
    for weak, strong in zip(weaker, stronger, strict=True):
        loss = [found[each]["loss"] for each in (CLEAN, weak, strong)]
        assert loss == sorted(loss)
        assert loss[1] > loss[0] * 1.0005
        assert loss[2] > loss[1] * 1.0005
    if task == "classification":
        fgsm, pgd = (found[each] for each in stronger)
        assert pgd["loss"] > fgsm["loss"]
        assert pgd["top1"] <= found[CLEAN]["top1"]


def test_task_without_a_loss_is_refused(tmp_path, monkeypatch):
    experiment, state = saved(epath.Path(tmp_path), config_of("classification"))
    kind = type(experiment.task)
    monkeypatch.setattr(kind, "metrics", lambda *args: dict(count=jnp.ones(())))
    image = np.zeros((8, 16, 16, 3), np.uint8)
    batch = dict(image=image, index=np.arange(8), label=np.zeros(8, np.int32))
    rows = jax.device_put(batch, experiment.batch_sharding)
    state = jax.device_put(state, experiment.shardings)
    with pytest.raises(UserError, match="have no sum 'loss'"):
        BatchChanger(experiment, state)(rows, Pass("attacks", "fgsm", 1.0))
