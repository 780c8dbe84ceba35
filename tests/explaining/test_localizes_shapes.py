"""Views of briefly trained models find the objects; those of new models do not."""

import functools

import jax.numpy as jnp
import pytest
from trained_on_shapes import SCORED, examples, new_model, scores, train

pytestmark = pytest.mark.slow

STEPS = 200
VIEWS = {
    "resnet": ("resnet",),
    "vit": ("transformer",),
    "sequential": ("resnet", "transformer"),
    "conformer": ("resnet", "transformer", "fused"),
}


@functools.cache
def split(name, count):
    return examples(name, count)


@pytest.mark.parametrize("fusion", VIEWS)
def test_views_find_objects_after_training_and_not_before(fusion):
    model = new_model(fusion)
    kernel = model.head.logits.kernel
    # As it is created: the head starts at zero.
    kernel[...] = jnp.zeros_like(kernel[...])
    scored = split("validation", SCORED)
    before = scores(model, *scored)
    images, textures, _ = split("train", 1500)
    accuracy = train(model, images, textures, steps=STEPS)
    after = scores(model, *scored)
    print(f"{fusion}: accuracy {accuracy:.2f}, before {before}, after {after}")
    assert accuracy > 0.4  # chance is 0.25
    uniform = after["uniform"][1]
    for view in VIEWS[fusion]:
        # A rollout through random projections favors patches of high contrast a little.
        assert before[view][1] <= uniform + 0.05
        assert after[view][1] >= uniform + 0.1
