"""Every registered head trains a step and answers under a whole model, for real.

The fusion is `vit`: it has one map, so every other stride a head wants is made of it. All
other pairs take theirs in `test_every_pair_trains.py`.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from real_steps import DEAD, check_every_parameter_is_reached, gradient_sizes
from task_steps import build_model_of, check_head_takes

from hybrid_jax.errors import UserError
from hybrid_jax.models.heads import HEADS
from hybrid_jax.tasks import TASKS

# At a second size their steps would take a minute of compilation; `check_head_takes`
# traces them there, and `detr` takes one with the options of RT-DETR.
SLOW_TO_COMPILE = ("detr", "dpt", "fcos", "fpn")
RTDETR = dict(
    strides=(8, 16, 32),
    num_queries=12,
    hidden_dim=32,
    num_heads=4,
    mlp_dim=48,
    encoder_layers=1,
    decoder_layers=2,
    attention="deformable",
    query_selection=True,
    num_denoising=8,
)


@pytest.mark.parametrize("head", HEADS.names())
def test_head_trains_a_step_on_one_map(head):
    sizes = gradient_sizes("vit", head)[1]
    check_every_parameter_is_reached(sizes, dead=DEAD.get(head, ()))


@pytest.mark.parametrize("head", [h for h in HEADS.names() if h not in SLOW_TO_COMPILE])
def test_head_trains_a_step_at_a_size_that_is_a_multiple_of_nothing(head):
    check_every_parameter_is_reached(gradient_sizes("vit", head, hw=(97, 131))[1])


def test_detr_as_rtdetr_teaches_every_parameter_but_those_that_cannot_tell():
    parts, sizes = gradient_sizes("vit", "detr", hw=(97, 131), options=RTDETR)
    assert all(float(parts[name]) > 0.0 for name in ("proposals", "denoising"))
    # Selected queries do not begin as zeros.
    check_every_parameter_is_reached(sizes, dead=DEAD["detr"][:1])


def test_check_names_every_parameter_without_a_gradient():
    sizes = {"head.a": 1.0, "head.b": 1e-9, "pyramid.c": 0.0, "head.d": np.nan}
    with pytest.raises(AssertionError, match=r"reaches 2 parameters: head\.b, head\.d$"):
        check_every_parameter_is_reached(sizes, dead=["pyramid.*"])
    with pytest.raises(AssertionError, match=r"no longer to be allowed: \['head.a'\]"):
        check_every_parameter_is_reached(sizes, dead=[r".*\.[bcd]", "head.a"])


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("detr", {}),
        ("fcos", {}),
        ("fcos", dict(neck="none")),
        ("fpn", {}),
        ("linear_pixels", {}),
        ("segmenter", {}),
        ("transunet", {}),
    ],
)
def test_head_of_maps_refuses_to_have_none(head, options):
    with pytest.raises(UserError, match=f"head '{head}': strides: expected one") as error:
        build_model_of("vit", head, options=options | dict(strides=()))
    assert "\n" not in str(error.value).partition("\n---")[0]  # JAX notes below


def test_head_of_taps_needs_no_maps():
    options = dict(strides=(), taps=(0, 1, 2, 3))
    assert build_model_of("vit", "dpt", options=options).pyramid is None


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
        message = r"it reads the map of stride 8, but .* as in strides = \(8, 16\)"
        with pytest.raises(UserError, match=message):
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
