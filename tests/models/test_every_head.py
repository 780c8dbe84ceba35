"""Every registered head trains a step and answers under a whole model, for real.

The fusion is `vit`: it has one map, so every other stride a head wants is made of it. All
other pairs take theirs in `test_every_pair_trains.py`.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_draws
from flax import nnx
from real_steps import DEAD, check_every_parameter_is_reached, gradient_sizes
from task_steps import FEWER_LAYERS, build_model_of, check_head_takes

from hybrid_jax.contracts import BlockFeatures, Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.image_grid import grid_of
from hybrid_jax.tasks import TASKS

# Steps are taken at a size that is a multiple of nothing, and not that for which the model
# is built: whatever is right at the latter alone shows.
AWKWARD = (65, 33)
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
    options = FEWER_LAYERS.get(head)
    sizes = gradient_sizes("vit", head, hw=AWKWARD, depth=1, options=options)[1]
    check_every_parameter_is_reached(sizes, dead=DEAD.get(head, ()))


@pytest.mark.slow
def test_detr_as_rtdetr_teaches_every_parameter_but_those_that_cannot_tell():
    """That the head alone learns is seen in `heads/test_detr.py`, by default."""
    parts, sizes = gradient_sizes("vit", "detr", hw=AWKWARD, depth=2, options=RTDETR)
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


def check_answers_in_float32_whatever_the_key(head):
    """Under bfloat16 too, and in evaluation nothing is random; nothing is computed."""
    entry = HEADS.get(head)
    channels = dict.fromkeys(sorted({4, 8, 16, 32, *entry.strides}), 24)
    built = dict(width=24, num_classes=5, dtype="bfloat16")
    module = nnx.eval_shape(lambda: entry(channels, **built, rngs=nnx.Rngs(params=0)))
    graph, state = nnx.split(module)
    maps = {s: _bfloat16(2, *grid_of((97, 131), s), c) for s, c in channels.items()}
    block = BlockFeatures(_bfloat16(2, *grid_of((97, 131), 16), 24), _bfloat16(2, 24))
    blocks = (block,) * len(getattr(module, "taps", ()))
    features = Features(maps, _bfloat16(2, 24), None, blocks, image_hw=(97, 131))
    kinds = {}

    def answer(state, features, key):
        outputs = nnx.merge(graph, state)(features, train=False, key=key)
        for path, leaf in jax.tree_util.tree_leaves_with_path(outputs):
            kinds[jax.tree_util.keystr(path)] = leaf.dtype
        return outputs

    program = random_draws.trace(answer, state, features)
    for name, kind in kinds.items():
        floating = jnp.issubdtype(kind, jnp.floating)
        assert not floating or kind == jnp.float32, (
            f"head {head!r}: outputs{name}: expected float32 whatever the dtype of the "
            f"head, got {kind}: write .astype(jnp.float32)"
        )
    assert not program.reads_key, f"head {head!r}: train=False with a key depends on it"
    assert not program.draws, f"head {head!r}: train=False draws: {program.draws}"


def _bfloat16(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.bfloat16)


@pytest.mark.parametrize("head", HEADS.names())
def test_head_answers_in_float32_whatever_the_key(head):
    check_answers_in_float32_whatever_the_key(head)


@pytest.mark.parametrize("head", HEADS.names())
def test_head_documents_what_it_is(head):
    written = inspect.getmodule(HEADS.get(head)).__doc__ or ""
    assert written.startswith(f"`{head}`: "), (
        f"the docstring of the module begins with '`{head}`: ' and what it is"
    )


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
            check_head_takes("greedy", (((16, 24),), 8))


def test_check_catches_a_head_that_answers_in_bfloat16():
    class Coarse(HEADS.get("linear")):
        def __call__(self, features, **options):
            outputs = super().__call__(features, **options)
            return outputs.replace(logits=outputs.logits.astype(jnp.bfloat16))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HEADS._entries, "coarse", Coarse)
        with pytest.raises(AssertionError, match="heads give float32"):
            check_head_takes("coarse", ((), 24))


class _Half(HEADS.get("linear")):
    def __call__(self, features, **options):
        outputs = super().__call__(features, **options)
        return outputs.replace(logits=outputs.logits.astype(jnp.float16))


class _Random(HEADS.get("linear")):
    def __call__(self, features, *, train=False, key=None):
        outputs = super().__call__(features, train=train)
        noise = jax.random.normal(key, outputs.logits.shape)
        return outputs.replace(logits=outputs.logits + noise)


@pytest.mark.parametrize(
    ("entry", "message"),
    [(_Half, ".logits: expected float32 .* float16"), (_Random, "key")],
)
def test_check_catches_a_head_of_half_precision_and_one_that_reads_the_key(entry, message):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HEADS._entries, "broken", entry)
        with pytest.raises(AssertionError, match=message):
            check_answers_in_float32_whatever_the_key("broken")
