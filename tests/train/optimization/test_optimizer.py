"""Schedules against their formulas, updates against a few lines of NumPy."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from small_run import small_config

from hybrid_jax.models.hybrid import build_model
from hybrid_jax.train.optimization.optimizer import branch_of, make_optimizer
from hybrid_jax.train.optimization.schedule import make_schedule
from hybrid_jax.train.state import path_name, split_model

STEPS, PEAK = 200, 0.3
ROUNDING = 1e-7  # of float32 around the peak


def options(**changes):
    """Returns `config.optimizer` with a constant rate and no decay, then `changes`."""
    keys = dict(
        learning_rate=PEAK,
        schedule="constant",
        warmup_fraction=0.0,
        weight_decay=0.0,
        clip_norm=0.0,
    )
    changed = {f"optimizer.{name}": value for name, value in (keys | changes).items()}
    return small_config(changed).optimizer


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", lambda share: PEAK),
        ("linear", lambda share: PEAK * (1 - share)),
        ("cosine", lambda share: PEAK * 0.5 * (1 + np.cos(np.pi * share))),
    ],
)
def test_schedule_rises_linearly_then_follows_its_formula(schedule, expected):
    rate = make_schedule(options(schedule=schedule, warmup_fraction=0.1), steps=STEPS)
    for step in (0, 1, 13, 19):
        assert rate(step) == pytest.approx(PEAK * step / 20, abs=ROUNDING)
    for step in (20, 21, 110, 199):
        assert rate(step) == pytest.approx(expected((step - 20) / 180), abs=ROUNDING)


def test_rsqrt_schedule_cools_down_linearly_to_zero():
    chosen = options(
        schedule="rsqrt",
        warmup_fraction=0.1,
        cooldown_fraction=0.25,
        rsqrt_timescale=30,
    )
    rate = make_schedule(chosen, steps=STEPS)
    for step in (20, 50, 150):
        assert rate(step) == pytest.approx(
            PEAK / np.sqrt(1 + (step - 20) / 30), abs=ROUNDING
        )
    for step in (151, 175, 199):
        decayed = PEAK / np.sqrt(1 + (step - 20) / 30)
        assert rate(step) == pytest.approx(decayed * (STEPS - step) / 50, abs=ROUNDING)
    assert rate(STEPS) == 0.0


def test_schedule_without_warmup_starts_at_the_peak():
    rate = make_schedule(options(schedule="cosine"), steps=STEPS)
    assert rate(0) == pytest.approx(PEAK)


TREE = {
    "backbone": {
        "resnet": {"conv": {"kernel": np.float32([[0.5, -1.0], [2.0, 0.25]])}},
        "vit": {"fc1": {"bias": np.float32([0.1, -0.2, 0.3])}},
        "gate": {"kernel": np.float32([[1.0], [-2.0]])},
    },
    "head": {"kernel": np.float32([[0.3, 0.4]])},
}


def gradients(number: int):
    random = np.random.default_rng(number)
    return jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), TREE)


def after_two_steps(optimizer: optax.GradientTransformation):
    params, state = TREE, optimizer.init(TREE)
    for number in range(2):
        updates, state = optimizer.update(gradients(number), state, params)
        params = optax.apply_updates(params, updates)
    return params


def each(function, *trees):
    """Maps `function(path, ...)` over trees of the same structure."""
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(path_name(path), *leaves), *trees
    )


def assert_trees_close(actual, expected):
    jax.tree.map(
        # Two steps of a handful of float32 operations on numbers near 1.
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6),
        actual,
        expected,
    )


def test_adamw_matches_its_equations():
    def by_hand(path, p, *grads):
        mean, square, p = 0.0, 0.0, p.astype(np.float64)
        for t, g in enumerate(grads, start=1):
            mean = 0.8 * mean + 0.2 * g
            square = 0.95 * square + 0.05 * g**2
            step = (mean / (1 - 0.8**t)) / (np.sqrt(square / (1 - 0.95**t)) + 1e-8)
            decay = 0.1 if path.endswith("kernel") else 0.0
            p = p - PEAK * (step + decay * p)
        return p

    optimizer = make_optimizer(options(weight_decay=0.1, b1=0.8, b2=0.95), steps=STEPS)
    expected = each(by_hand, TREE, gradients(0), gradients(1))
    assert_trees_close(after_two_steps(optimizer), expected)


def test_sgd_gathers_momentum_over_gradient_and_decay():
    def by_hand(path, p, *grads):
        velocity, decay = 0.0, 0.1 if path.endswith("kernel") else 0.0
        for g in grads:
            velocity = 0.7 * velocity + g + decay * p
            p = p - PEAK * velocity
        return p

    chosen = options(name="sgd", momentum=0.7, weight_decay=0.1)
    expected = each(by_hand, TREE, gradients(0), gradients(1))
    assert_trees_close(after_two_steps(make_optimizer(chosen, steps=STEPS)), expected)


def test_lamb_matches_optax():
    mask = each(lambda path, _: path.endswith("kernel"), TREE)
    lamb = optax.lamb(PEAK, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.1, mask=mask)
    optimizer = make_optimizer(options(name="lamb", weight_decay=0.1), steps=STEPS)
    assert_trees_close(after_two_steps(optimizer), after_two_steps(lamb))


def test_clipping_shortens_only_long_gradients():
    chosen = options(name="sgd", momentum=0.0, clip_norm=2.0)
    optimizer = make_optimizer(chosen, steps=STEPS)
    state = optimizer.init(TREE)
    norm = optax.tree.norm(gradients(0))
    for wanted in (1.5, 40.0):
        grads = jax.tree.map(lambda g, w=wanted: g * w / norm, gradients(0))
        updates, _ = optimizer.update(grads, state, TREE)
        length = PEAK * min(wanted, 2.0)
        assert optax.tree.norm(updates) == pytest.approx(length, rel=1e-5)


def test_branch_rates_scale_updates_and_decay():
    rates = dict(resnet=0.0, vit=0.5, fusion=2.0, head=1.0)
    whole = make_optimizer(options(weight_decay=0.1), steps=STEPS)
    scaled = make_optimizer(
        options(weight_decay=0.1, **{f"branch.{k}": v for k, v in rates.items()}),
        steps=STEPS,
    )
    first, _ = whole.update(gradients(0), whole.init(TREE), TREE)
    expected = each(lambda path, u: u * rates[branch_of(path)], first)
    grads, _ = scaled.split(gradients(0))
    second, _ = scaled.update(grads, scaled.init(TREE), TREE)
    del expected["backbone"]["resnet"]
    assert_trees_close(second, expected)


def test_branch_is_read_from_the_path():
    branches = each(lambda path, _: branch_of(path), TREE)
    assert jax.tree.leaves(branches) == ["fusion", "resnet", "vit", "head"]


def test_moment_dtype_applies_to_the_first_moment_only():
    state = make_optimizer(options(moment_dtype="bfloat16"), steps=STEPS).init(TREE)
    moments = state[0]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(moments.mu)} == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(moments.nu)} == {"float32"}


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
def test_every_rule_begins_with_zeros(name):
    """Tests of a step take its state to begin so, without an initialization."""
    state = make_optimizer(options(name=name), steps=STEPS).init(TREE)
    assert jax.tree.leaves(state)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("pool", ["cls", "attention"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_only_kernels_decay(pool, norm):
    vit = dict(pool=pool, num_register_tokens=2, layer_scale=0.1)
    changes = {"resnet_options.norm": norm}
    changes["dtype"] = "float32"
    changes |= {f"vit_options.{name}": value for name, value in vit.items()}
    config = small_config({f"model.{name}": value for name, value in changes.items()})

    def build():
        model = build_model(
            config.model, num_classes=7, image_size=(16, 24), rngs=nnx.Rngs(params=0)
        )
        return split_model(model)[1]

    # One element stands for all of an array; few shapes are few programs.
    params = jax.tree.map(
        lambda leaf: np.ones([1] * len(leaf.shape), np.float32), jax.eval_shape(build)
    )
    chosen = options(name="sgd", weight_decay=0.1)
    optimizer = make_optimizer(chosen, steps=STEPS)
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    decays = each(lambda path, update: (path, bool(np.all(update != 0.0))), updates)
    found = jax.tree.leaves(decays, is_leaf=lambda x: isinstance(x, tuple))
    assert {path for path, decayed in found if decayed} == {
        path for path, _ in found if path.endswith("/kernel")
    }
    names = {path.split("/")[-1] for path, decayed in found if not decayed}
    special = {"cls", "cls_position"} if pool == "cls" else {"probe"}
    assert names == {"bias", "scale", "position", "registers", "gamma"} | special
