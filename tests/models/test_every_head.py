"""Every registered head trains a step and answers under a whole model, for real."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import names_and_leaves, random_like
from small_fusion import BUILT_FOR, quick_jit
from task_batches import batch_for
from task_steps import check_head_takes, step_of

from hybrid_jax.models.heads import HEADS
from hybrid_jax.tasks import TASKS


@pytest.mark.parametrize("head", HEADS.names())
def test_head_trains_a_step_on_one_map(head):
    # `vit` has one map, so every other stride a head wants is made of it.
    step = step_of("vit", head)
    batch, key = batch_for(step.targets, hw=BUILT_FOR), jax.random.key(0)
    gradient = quick_jit(jax.value_and_grad(step.loss, has_aux=True))
    state = random_like(step.params), random_like(step.rest)
    (total, mean), gradients = gradient(*state, batch, key)
    assert np.isfinite(total)
    assert mean.count > 0
    if mean.parts:
        assert float(sum(mean.parts.values())) == pytest.approx(float(total), rel=1e-4)
    sizes = {k: float(jnp.linalg.norm(g)) for k, g in names_and_leaves(gradients).items()}
    assert np.isfinite(list(sizes.values())).all(), sizes
    for part in ("backbone", "pyramid", "head"):
        of_part = [size for name, size in sizes.items() if name.startswith(f"{part}.")]
        assert not of_part or max(of_part) > 0.0, f"no gradient reaches the {part}"


@pytest.mark.parametrize("name", HEADS.names())
def test_head_is_for_a_task_that_there_is(name):
    assert HEADS.get(name).task in TASKS.names()


@pytest.mark.parametrize("name", TASKS.names())
def test_task_has_a_head_and_says_what_it_needs(name):
    task = TASKS.get(name)
    assert any(HEADS.get(head).task == name for head in HEADS.names())
    assert task.targets
    assert set(task.targets) <= {"label", "boxes", "segmentation"}
    assert task.main_score


def test_check_catches_a_head_that_reads_what_it_does_not_name():
    class Greedy(HEADS.get("linear_pixels")):
        def __call__(self, features, **options):
            features.maps[8]  # named nowhere
            return super().__call__(features, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HEADS._entries, "greedy", Greedy)
        with pytest.raises(KeyError, match="8"):
            check_head_takes("greedy", (((16, 24),), 8), sizes=((97, 131), (64, 96)))


def test_check_catches_a_head_that_answers_in_bfloat16():
    class Coarse(HEADS.get("linear")):
        def __call__(self, features, **options):
            outputs = super().__call__(features, **options)
            return outputs.replace(logits=outputs.logits.astype(jnp.bfloat16))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HEADS._entries, "coarse", Coarse)
        with pytest.raises(AssertionError, match="heads give float32"):
            check_head_takes("coarse", ((), 24), sizes=((97, 131), (64, 96)))
