"""The set head: what padding, targets and size may not change; that all of it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from fresh_modules import fresh_state
from parameters import names_and_leaves, random_like

from hybrid_jax.config import defaults
from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.heads.detr import DETR
from hybrid_jax.models.options import check_options
from hybrid_jax.ops.padding_mask import rectangle_mask
from hybrid_jax.tasks.detection.set_detection import set_loss

CHANNELS = {8: 6, 16: 10}
K = 3
SMALL = dict(
    strides=(8, 16), num_queries=5, hidden_dim=16, num_heads=2, mlp_dim=24, decoder_layers=2
)
RTDETR = SMALL | dict(attention="deformable", query_selection=True, num_denoising=6)
KINDS = {
    "detr": SMALL | dict(encoder_layers=1, scores="softmax"),
    "deformable": SMALL | dict(encoder_layers=1, attention="deformable"),
    "rtdetr": RTDETR,
    "full_selection": SMALL | dict(query_selection=True, scores="softmax", num_denoising=4),
}


def construct(*, dtype="float32", **options):
    rngs = nnx.Rngs(params=0)
    return DETR(CHANNELS, width=3, num_classes=K, dtype=dtype, rngs=rngs, **options)


@functools.cache
def random_head(kind, **changes):
    """Returns a jitted (state, features, **kw) -> outputs and a random state."""
    options = KINDS[kind] | changes
    graph, state = nnx.split(nnx.eval_shape(lambda: construct(**options)))

    @functools.partial(jax.jit, static_argnames="train")
    def apply(state, features, **kw):
        return nnx.merge(graph, state)(features, **kw)

    return apply, random_like(state)


def features_of(hw=(48, 80), *, B=2, content=None, seed=0):
    """Random maps of images (H, W); `content` is (top, left, bottom, right) in px."""
    rng = np.random.default_rng(seed)
    maps = {
        s: jnp.asarray(rng.standard_normal((B, -(-hw[0] // s), -(-hw[1] // s), c)), "f4")
        for s, c in CHANNELS.items()
    }
    mask = None
    if content is not None:
        mask = rectangle_mask(jnp.asarray([content] * B), hw=hw)
    return Features(maps=maps, pooled=np.zeros((B, 3), "f4"), mask=mask, image_hw=hw)


def targets_of(counts, *, M=6, hw=(48, 80), seed=1):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0.0, 0.6, (len(counts), M, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], -1)
    return dict(
        boxes_xyxy_px=jnp.asarray(boxes * [*hw[::-1], *hw[::-1]], jnp.float32),
        box_labels=jnp.asarray(rng.integers(0, K, low.shape[:2]), jnp.int32),
        box_mask=jnp.asarray(np.arange(M) < np.asarray(counts)[:, None]),
        mask=np.ones(len(counts), bool),
    )


def assert_same(a, b, **kw):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **kw)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_in_the_padding_is_never_seen(kind):
    apply, state = random_head(kind, input_norm=False)
    features = features_of(content=(16, 0, 48, 48))
    maps, inside = ({s: np.array(x) for s, x in features.maps.items()} for _ in range(2))
    for s, x in maps.items():
        x[:, :, 48 // s :] = 9.0
        x[:, : 16 // s] = -9.0
        inside[s][:, 2] += 1.0
    said = jax.device_get(apply(state, features))
    assert_same(said, apply(state, features.replace(maps=maps)), atol=1e-5)
    changed = apply(state, features.replace(maps=inside)).layers[-1].boxes_cxcywh
    assert np.abs(np.asarray(changed) - said.layers[-1].boxes_cxcywh).max() > 1e-3


def test_padding_around_an_image_leaves_its_boxes_where_they_are():
    apply, state = random_head("detr", input_norm=False, normalized_by="content")
    alone = features_of()
    framed = features_of((96, 112), content=(32, 16, 80, 96))
    maps = {s: np.array(x) for s, x in framed.maps.items()}
    for s, x in maps.items():
        x[:, 32 // s : 80 // s, 16 // s : 96 // s] = alone.maps[s]
    framed = framed.replace(maps=maps)
    for a, b in zip(apply(state, alone).layers, apply(state, framed).layers, strict=True):
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-4)
        expected = np.asarray(a.boxes_cxcywh) * [80, 48, 80, 48] + [16, 32, 0, 0]
        np.testing.assert_allclose(
            np.asarray(b.boxes_cxcywh) * [112, 96, 112, 96], expected, atol=1e-2
        )


@pytest.mark.parametrize("kind", ["rtdetr", "full_selection"])
def test_answers_do_not_know_the_targets(kind):
    apply, state = random_head(kind)
    features, key = features_of(content=(0, 0, 48, 80)), jax.random.key(0)
    run = functools.partial(apply, state, features, train=True, key=key)
    one, other = run(targets=targets_of((6, 1))), run(targets=targets_of((3, 0), seed=2))
    assert_same(one.layers, other.layers, atol=1e-5)
    assert_same(one.layers, apply(state, features).layers, atol=1e-5)
    assert one.denoising.layers[0].logits.shape == (2, KINDS[kind]["num_denoising"], K + (
        kind == "full_selection"
    ))  # fmt: skip
    differ = np.abs(one.denoising.layers[-1].logits - other.denoising.layers[-1].logits)
    assert differ.max() > 1e-3


def test_noised_queries_see_their_own_group_alone():
    """With one object, pairs are groups: what one pair starts from moves no other."""
    _, state = random_head("rtdetr")
    graph, _ = nnx.split(nnx.eval_shape(lambda: construct(**RTDETR)))
    batch, features = targets_of((1, 1)), features_of(content=(0, 0, 48, 80))

    @jax.jit
    def said(state, shift, features, batch):
        head = nnx.merge(graph, state)
        make = head.denoising

        def moved(*args, **kw):
            noised = make(*args, **kw)
            references = noised.references.at[:, :2].add(shift)
            return noised.replace(references=references)

        object.__setattr__(head, "denoising", moved)
        outputs = head(features, train=True, key=jax.random.key(0), targets=batch)
        return outputs.denoising.layers[-1].logits

    one, other = (said(state, shift, features, batch) for shift in (0.0, 1.0))
    moves = np.abs(one - other).max((0, 2))
    assert (moves[2:] < 1e-5).all()
    assert (moves[:2] > 1e-3).all()


# That all of DETR is taught is tested by the head's name too.
@pytest.mark.parametrize(
    ("B", "kind"),
    [
        (64, "rtdetr"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                *((1, "rtdetr"), (64, "detr")),
                *((64, "deformable"), (64, "full_selection")),
            )
        ),
    ],
)
def test_all_of_it_learns_from_images_with_none_one_and_too_many_objects(kind, B):
    """Unguarded overlaps give NaN at some batch sizes, see `ops/boxes.py`."""
    graph, state = nnx.split(nnx.eval_shape(lambda: construct(**KINDS[kind])))
    state = random_like(state)
    counts = np.resize([6, 0, 1], B)  # five queries
    batch = targets_of(counts)
    features = features_of(B=B, content=(0, 0, 40, 80))
    options = defaults().task.detection.to_dict()

    def total(state, features, batch):
        head = nnx.merge(graph, state)
        outputs = head(features, train=True, key=jax.random.key(1), targets=batch)
        loss = set_loss(outputs, batch, options)
        return loss.total / loss.count

    # As arguments: XLA takes seconds over what it can compute beforehand.
    gradient = jax.jit(jax.grad(total, argnums=(0, 1), allow_int=True))
    grads = gradient(state, features, batch)
    for name, slope in names_and_leaves(grads[0]).items():
        assert np.isfinite(slope).all(), name
        # A softmax takes no notice of a key's bias. DETR's queries are nothing but places
        # at first, so that there is nothing to tell each other in its first layer.
        mute = kind == "detr" and name.startswith("decoder.layers.0.self_attn")
        if B > 1 and not name.endswith("key.bias") and not mute:
            assert np.abs(slope).max() > 0, name
    assert all(np.isfinite(x).all() for x in grads[1].maps.values())


@pytest.mark.parametrize("kind", KINDS)
def test_any_size_and_dtype(kind):
    head = nnx.eval_shape(lambda: construct(dtype="bfloat16", **KINDS[kind]))
    for hw in ((17, 33), (8, 200)):
        features = features_of(hw)  # with cells that reach past the image
        outputs = nnx.eval_shape(lambda head, f: head(f), head, features)
        assert outputs.image_hw == hw
        cells = sum(-(-hw[0] // s) * -(-hw[1] // s) for s in CHANNELS)
        Q = min(5, cells) if KINDS[kind].get("query_selection") else 5
        columns = K + (KINDS[kind].get("scores") == "softmax")
        assert len(outputs.layers) == 2
        assert outputs.denoising is None
        for boxes in outputs.layers:
            assert boxes.logits.shape == (2, Q, columns)
            assert boxes.boxes_cxcywh.shape == (2, Q, 4)
            assert boxes.logits.dtype == boxes.boxes_cxcywh.dtype == jnp.float32


def test_boxes_begin_at_their_references():
    def build():
        return construct(**SMALL, attention="deformable")

    graph = nnx.graphdef(nnx.eval_shape(build))

    @jax.jit
    def begin(state, features):
        head = nnx.merge(graph, state)
        return jax.nn.sigmoid(head.reference[...]), head(features)

    start, outputs = begin(fresh_state(build), features_of())
    for boxes in outputs.layers:
        np.testing.assert_allclose(boxes.boxes_cxcywh, [start, start], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(hidden_dim=18, num_heads=4), "multiple of 4 and of num_heads"),
        (dict(decoder_layers=0), "decoder_layers"),
        (dict(num_denoising=3), "even number"),
        (dict(query_selection=True, normalized_by="content"), "normalized_by"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        construct(**options)


def test_options_are_checked_by_their_types():
    check_options("head 'detr'", DETR, KINDS["rtdetr"])
    with pytest.raises(UserError, match="attention"):
        check_options("head 'detr'", DETR, dict(attention="sparse"))
