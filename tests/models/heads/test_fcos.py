"""The dense head against float64 loops, and what holds at any size and any strides."""

import functools
import math

import float64_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.configurations import config as flax_config
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.heads.fcos import FCOS
from hybrid_jax.models.options import check_options

CHANNELS = {4: 6, 8: 10, 16: 12, 32: 9}
K = 3


def construct(*, dtype="float32", **options):
    options = dict(tower_channels=8, strides=(16, 8)) | options
    rngs = nnx.Rngs(params=0)
    return FCOS(CHANNELS, width=5, num_classes=K, dtype=dtype, rngs=rngs, **options)


quickly = functools.cache(jax.jit)  # tests share the programs of one head


@functools.cache
def random_head(**options):
    """Returns a pure (state, maps) -> outputs and a random state."""
    graph, state = nnx.split(nnx.eval_shape(lambda: construct(**options)))

    def apply(state, maps):
        features = Features(maps=maps, pooled=jnp.zeros((2, 5)))
        return nnx.merge(graph, state)(features, train=False)

    return apply, random_like(state)


def maps_of(hw=(27, 45), *, seed=0):
    """Returns maps of two images (H, W); sizes are rounded up, as fusions give them."""
    rng = np.random.default_rng(seed)
    return {
        s: jnp.asarray(rng.standard_normal((2, -(-hw[0] // s), -(-hw[1] // s), c)), "f4")
        for s, c in CHANNELS.items()
    }


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def float64_level(x, p, *, stride, scale):
    """Returns logits, quality and boxes of one level, a cell at a time."""

    def tower(x, p):
        for layer in sorted(p["convs"]):
            x = reference.conv(x, p["convs"][layer]["kernel"], centered=True)
            x = np.maximum(reference.map_norm(x, p["norms"][layer]), 0)
        return x

    def last(x, p):
        return reference.conv(x, p["kernel"], centered=True) + p["bias"]

    logits = last(tower(x, p["class_tower"]), p["logits"])
    x = tower(x, p["box_tower"])
    away = stride * softplus(scale * last(x, p["distances"]))
    rows, columns = np.indices(x.shape[1:3])
    y, x_px = (rows + 0.5) * stride, (columns + 0.5) * stride
    left, top, right, bottom = (away[..., i] for i in range(4))
    boxes = np.stack([x_px - left, y - top, x_px + right, y + bottom], -1)
    quality = last(x, p["quality"])[..., 0]
    return [a.reshape(2, -1, *a.shape[3:]) for a in (logits, quality, boxes)]


def test_outputs_equal_the_float64_ones():
    apply, state = random_head(neck="none")
    maps = maps_of()
    outputs = quickly(apply)(state, maps)
    p = as_float64(state)
    levels = []
    for i, stride in enumerate((8, 16)):
        project = p["project"][i]
        x = reference.conv(np.asarray(maps[stride], np.float64), project["conv"]["kernel"])
        x = np.maximum(reference.map_norm(x, project["norm"]), 0)
        levels.append(float64_level(x, p, stride=stride, scale=p["scales"][i]))
    for name, parts in zip(
        ("logits", "quality_logits", "boxes_xyxy_px"),
        zip(*levels, strict=True),
        strict=True,
    ):
        expected = np.concatenate(parts, 1)
        np.testing.assert_allclose(getattr(outputs, name), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 8), (16,)])
@pytest.mark.parametrize("neck", ["fpn", "none"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_cell_of_any_image_answers_in_float32(strides, neck, dtype):
    apply, state = random_head(strides=strides, neck=neck, dtype=dtype)
    hw = (97, 33)
    outputs = jax.eval_shape(apply, state, maps_of(hw))
    N = sum(math.ceil(hw[0] / s) * math.ceil(hw[1] / s) for s in strides)
    shapes = {name: leaf.shape for name, leaf in vars(outputs).items()}
    assert shapes == dict(
        logits=(2, N, K),
        quality_logits=(2, N),
        boxes_xyxy_px=(2, N, 4),
        centers_xy_px=(N, 2),
        strides_px=(N,),
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype("float32")}


def test_cells_stand_fine_to_coarse_and_row_by_row_whatever_the_order_asked():
    apply, state = random_head()
    outputs = quickly(apply)(state, maps_of())
    expected = [
        (s * (j + 0.5), s * (i + 0.5), s)
        for s, (h, w) in ((8, (4, 6)), (16, (2, 3)))
        for i in range(h)
        for j in range(w)
    ]
    centers, strides = outputs.centers_xy_px, outputs.strides_px
    found = np.concatenate([centers, strides[:, None]], 1)
    np.testing.assert_array_equal(found, expected)


def test_every_box_contains_its_cell_whatever_the_features():
    apply, state = random_head()
    maps = {s: 1e3 * x for s, x in maps_of().items()}
    outputs = quickly(apply)(state, maps)
    low, high = outputs.boxes_xyxy_px[..., :2], outputs.boxes_xyxy_px[..., 2:]
    assert np.isfinite(outputs.boxes_xyxy_px).all()
    assert (low <= outputs.centers_xy_px).all()
    assert (high >= outputs.centers_xy_px).all()


def test_new_head_thinks_one_cell_in_a_hundred_holds_each_class():
    @jax.jit
    def new_logits(maps):
        features = Features(maps=maps, pooled=jnp.zeros((2, 5)))
        return construct()(features, train=False).logits

    logits = new_logits(maps_of())
    np.testing.assert_allclose(jax.nn.sigmoid(logits), 0.01, atol=0.005)


def test_gradient_reaches_every_parameter():
    apply, state = random_head(neck="fpn")  # which has all of a head without it, and more

    def total(state, maps):
        outputs = apply(state, maps)
        leaves = outputs.logits, outputs.quality_logits, outputs.boxes_xyxy_px
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves)

    gradients = names_and_leaves(jax.jit(jax.grad(total))(state, maps_of()))
    silent = [name for name, g in gradients.items() if not np.abs(g).max() > 0]
    assert not silent


def test_towers_are_shared_and_each_level_has_a_scale_of_its_own():
    one, three = (
        names_and_leaves(random_head(strides=s, neck="none")[1]) for s in ((8,), (4, 8, 16))
    )
    more = {name for name in three.keys() - one.keys() if not name.startswith("project.")}
    assert not more
    apply, state = random_head()
    run = quickly(apply)
    before = run(state, maps_of())
    flat = nnx.to_pure_dict(state)
    flat["scales"] = flat["scales"].at[1].add(0.5)
    changed = nnx.clone(state)
    nnx.replace_by_pure_dict(changed, flat)
    after = run(changed, maps_of())
    moved = np.abs(after.boxes_xyxy_px - before.boxes_xyxy_px).max((0, 2)) > 0
    np.testing.assert_array_equal(moved, before.strides_px == 16)


def test_neck_tells_finer_levels_of_coarser_maps():
    for neck, heard in (("fpn", True), ("none", False)):
        apply, state = random_head(strides=(8,), neck=neck)
        run, maps = quickly(apply), maps_of()
        other = maps | {32: maps[32] + 1.0 + jnp.arange(9.0)}
        moved = np.abs(run(state, other).logits - run(state, maps).logits).max() > 0
        assert moved == heard, neck


def test_unknown_neck_and_option_are_named():
    with pytest.raises(UserError, match="neck: expected .*fpn.*none.*, got 'pan'"):
        check_options("head 'fcos'", FCOS, dict(neck="pan"))
    with pytest.raises(UserError, match="no option 'conv'. Did you mean 'num_convs'"):
        check_options("head 'fcos'", FCOS, dict(conv=3))


def test_head_is_clean_in_tree_mode():
    flags = ("nnx_graph_mode", "nnx_graph_updates")
    before = {flag: getattr(flax_config, flag) for flag in flags}
    try:
        for flag in flags:
            flax_config.update(flag, False)
        apply, state = random_head(num_convs=1)  # not built by another test
        outputs = jax.eval_shape(apply, state, maps_of((32, 32)))
    finally:
        for flag, value in before.items():
            flax_config.update(flag, value)
    assert outputs.logits.shape == (2, 20, K)
