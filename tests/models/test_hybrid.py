"""What stands between fusion and head: strides, padding, keys, targets and options."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_jax.config import defaults
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.ops.padding_mask import rectangle_mask

HW = (24, 40)
IMAGES = jnp.zeros((2, *HW, 3))
calls: list[tuple[str, dict]] = []  # who was called, and with what


class Grid(nnx.Module):
    """A fusion of one map, of stride 8."""

    parts = ()
    starts_as = None

    def __init__(self, resnet_spec, vit_spec, *, image_size, rngs):
        self.channels, self.width = {8: 5}, 5

    def __call__(self, images, *, train=False, key=None):
        calls.append(("fusion", dict(train=train, key=key)))
        h, w = (-(-side // 8) for side in images.shape[1:3])
        x = jnp.ones((len(images), h, w, 5))
        return Features(maps={8: x}, pooled=x.mean((1, 2)))


class Plain(nnx.Module):
    """A head that returns the features it was given."""

    task = "classification"
    strides = (8,)

    def __init__(
        self,
        channels,
        *,
        width,
        num_classes,
        dtype,
        rngs,
        strides: tuple[int, ...] = (8,),
        taps: tuple[int, ...] = (),
        layers: int = 1,
    ):
        calls.append(("head", dict(channels=channels, width=width, dtype=dtype)))
        self.taps = taps

    def __call__(self, features, *, train=False, key=None, **more):
        calls.append(("head", dict(train=train, key=key, **more)))
        return features


class Curious(Plain):
    """A head that learns from noised targets."""

    reads_targets = True


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for registry, more in ((FUSIONS, dict(grid=Grid)), (HEADS, dict(plain=Plain))):
        registry.names()
        monkeypatch.setattr(registry, "_entries", registry._entries | more)
    HEADS._entries["curious"] = Curious
    calls.clear()


def build(head="plain", *, fusion_options=None, **options):
    model = defaults("tiny").model
    model.update(fusion="grid", head=head, dtype="bfloat16")
    with model.unlocked():
        model.head_options = {head: options}
        model.fusion_options = {"grid": fusion_options or {}}
    return build_model(model, num_classes=7, image_size=HW, rngs=nnx.Rngs(params=0))


def last_call(who):
    return next(arguments for name, arguments in reversed(calls) if name == who)


def test_head_gets_channels_width_and_dtype():
    build()
    assert last_call("head") == dict(channels={8: 5}, width=5, dtype="bfloat16")


def test_fusion_and_head_draw_from_keys_of_their_own():
    key = jax.random.key(3)
    build()(IMAGES, train=True, key=key)
    keys = [jax.random.key_data(last_call(who)["key"]) for who in ("fusion", "head")]
    expected = jax.random.key_data(jax.random.split(key))
    np.testing.assert_array_equal(keys, expected)
    assert last_call("fusion")["train"] is last_call("head")["train"] is True


def test_without_a_key_nobody_has_one():
    build()(IMAGES)
    for who in ("fusion", "head"):
        assert last_call(who) == dict(train=False, key=None)


def test_head_is_told_the_size_of_the_images():
    assert build()(IMAGES).image_hw == HW


def test_mask_is_what_content_leaves_and_none_without_it():
    model = build()
    assert model(IMAGES).mask is None
    content = jnp.asarray([[0, 0, 24, 40], [3, 5, 20, 31]])
    mask = model(IMAGES, content_yxyx_px=content).mask
    assert mask.shape == (2, *HW)
    np.testing.assert_array_equal(mask, rectangle_mask(content, hw=HW))
    assert int(mask.sum()) == 24 * 40 + 17 * 26


@pytest.mark.parametrize(
    ("answer", "got"), [(jnp.ones((2, 7)), r"an array of shape \(2, 7\)"), ((), "a tuple")]
)
def test_head_or_fusion_of_another_answer_is_named(answer, got, monkeypatch):
    monkeypatch.setattr(Plain, "__call__", lambda *_, **more: answer)
    message = f"head Plain: expected outputs of the task 'classification' .* got {got}"
    with pytest.raises(UserError, match=message):
        build()(IMAGES)
    monkeypatch.setattr(Grid, "__call__", lambda *_, **more: answer)
    with pytest.raises(UserError, match=f"fusion Grid: expected Features .* got {got}"):
        build()(IMAGES)


def test_head_that_does_not_declare_a_stride_is_named(monkeypatch):
    def message(name):
        return re.escape(
            f"head {name}: it reads the map of stride 32, but declares strides = (8,). "
            f"Declare it, as in strides = (8, 32); "
        )

    model = build()
    monkeypatch.setattr(Plain, "__call__", lambda _, features, **more: features.maps[32])
    with pytest.raises(UserError, match=message("Plain")):
        model(IMAGES)
    monkeypatch.setattr(Plain, "__init__", lambda _, channels, **more: channels[32])
    with pytest.raises(UserError, match=message("'plain'")):
        build()
    monkeypatch.setattr(Plain, "__init__", lambda _, channels, **more: {}["other"])
    with pytest.raises(KeyError, match="other"):
        build()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("head", ["plain", "curious"])
def test_targets_reach_heads_that_read_them_in_training_alone(head, train):
    batch = dict(image=IMAGES, label=jnp.zeros(2))
    build(head)(IMAGES, train=train, targets=batch)
    given = last_call("head")
    assert ("targets" in given) == (head == "curious" and train)
    assert given.get("targets", batch) is batch


def test_missing_strides_are_made_between_fusion_and_head():
    model = nnx.eval_shape(lambda: build(strides=(4, 8, 32)))
    assert last_call("head")["channels"] == {4: 5, 8: 5, 16: 5, 32: 5}
    graph, state = nnx.split(model)
    assert {path[0] for path, _ in nnx.to_flat_state(state)} == {"pyramid"}
    images = jax.ShapeDtypeStruct((2, 25, 43, 3), jnp.float32)

    def maps(state, images):
        model = nnx.merge(graph, state)
        return model(images).maps, model.features(images).maps

    read, same = jax.eval_shape(maps, state, images)
    assert {stride: x.shape[1:3] for stride, x in read.items()} == {
        4: (7, 11),
        8: (4, 6),
        16: (2, 3),
        32: (1, 2),
    }
    assert same == read


def test_strides_that_are_there_make_no_pyramid():
    assert build().pyramid is None
    assert build(strides=(8,)).pyramid is None


def test_unreachable_stride_of_a_head_is_refused():
    with pytest.raises(
        UserError, match="^head: strides: .* by doubling or halving, got 24"
    ):
        build(strides=(24,))


@pytest.mark.parametrize(
    ("channels", "width", "words"),
    [({8: 6}, 5, "map of stride 8 of Grid"), ({8: 5}, 4, "pooled of Grid")],
)
def test_a_fusion_that_returns_other_shapes_than_it_promises_is_named(
    channels, width, words
):
    model = build()
    model.backbone.channels, model.backbone.width = channels, width
    with pytest.raises(AssertionError, match=words):
        model(IMAGES)


def test_taps_of_a_fusion_without_a_vit_are_refused():
    with pytest.raises(UserError, match="expected a fusion with a ViT, got Grid"):
        build(taps=(2, 5))
    assert build()(IMAGES).intermediates == ()


def test_unknown_option_of_a_head_is_one_line_with_the_nearest():
    with pytest.raises(UserError) as error:
        build(layesr=2)
    assert str(error.value) == (
        "head 'plain' has no option 'layesr'. Did you mean 'layers'? "
        "It accepts: strides, taps, layers."
    )


def test_option_of_another_type_is_one_line():
    with pytest.raises(UserError) as error:
        build(layers="2")
    assert str(error.value) == "head 'plain': layers: expected int, got '2'."


def test_options_of_other_heads_are_not_looked_at():
    model = defaults("tiny").model
    model.update(fusion="grid", head="linear", dtype="float32")
    with model.unlocked():
        model.head_options = {"plain": dict(nonsense=1)}
    built = build_model(model, num_classes=7, image_size=HW, rngs=nnx.Rngs(params=0))
    assert built(IMAGES).logits.shape == (2, 7)
