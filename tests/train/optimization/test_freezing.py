"""What is frozen stays to the bit, costs no memory, and mistakes are named early."""

import jax
import numpy as np
import pytest
from etils import epath
from flax import nnx
from small_run import small_config
from train_examples import (
    assert_trees_equal,
    host_batch,
    new_state,
    noise_state,
    on_host,
    put,
    run_steps,
    small_experiment,
    train_step,
)

from hybrid_jax.config import defaults
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.profiling.profile import describe
from hybrid_jax.train.checkpoints.checkpoint import Checkpoints
from hybrid_jax.train.optimization.freezing import join, paths_of, split
from hybrid_jax.train.optimization.optimizer import make_optimizer
from hybrid_jax.train.reporting.announce import announce
from hybrid_jax.train.state import merge_model, path_name, split_model

# What is frozen -> the beginnings of its paths.
FROZEN = {
    "resnet": ({"optimizer.freeze": "^backbone/resnet/"}, ["backbone/resnet/"]),
    "branch": ({"optimizer.branch.resnet": 0.0}, ["backbone/resnet/"]),
    "probe": ({"optimizer.freeze": "backbone"}, ["backbone/"]),
    "both": (
        {
            "optimizer.freeze": "blocks/0/",
            "optimizer.branch.head": 0.0,
            "model.vit_options.depth": 2,
        },
        ["backbone/resnet/stages/0/blocks/0/", "backbone/vit/blocks/0/", "head/"],
    ),
}
BLOCK = "backbone/resnet/stages/0/blocks/0"
BATCH_NORM = {"model.fusion": "resnet", "model.resnet_options.norm": "batch"}
# A decay and an average would change what is frozen too, were it not held.
HELD = {"optimizer.weight_decay": 0.1, "train.ema_decay": 0.3}


def leaves_of(tree):
    """Returns path -> array of a nested dict."""
    return {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def same_bits(one, other):
    return one.tobytes() == other.tobytes()


# "both" freezes parameters and a branch.
@pytest.mark.parametrize(
    "what",
    [
        *(pytest.param(what, marks=pytest.mark.slow) for what in ("resnet", "branch")),
        *("probe", "both"),
    ],
)
def test_frozen_parameters_keep_every_bit_while_others_move(what):
    changes, beginnings = FROZEN[what]
    experiment = small_experiment(changes | HELD, mesh="single")
    # Negative zeros are lost by any addition, and an average that has another value by
    # any averaging: 0.3 p + 0.7 p would be p again.
    start = jax.tree.map(
        lambda p: np.where(p == 0.0, np.float32(-0.0), p),
        on_host(new_state(experiment, lively=True).params),
    )
    averaged = jax.tree.map(lambda p: 3.0 * p + 1.0, start)
    state = new_state(experiment).replace(params=start, ema=averaged)
    state = jax.device_put(state, experiment.shardings)
    for number in range(2):
        state, _ = train_step(experiment)(state, put(experiment, host_batch(number)))
    before, after = leaves_of(start), leaves_of(on_host(state.params))
    early, late = leaves_of(averaged), leaves_of(on_host(state.ema))
    held = {path for path in before if path.startswith(tuple(beginnings))}
    assert held
    for path in before:
        assert same_bits(before[path], after[path]) == (path in held), path
        assert same_bits(early[path], late[path]) == (path in held), path


@pytest.mark.parametrize("rule", ["adamw", "sgd", "lamb"])
@pytest.mark.parametrize("what", FROZEN)
def test_frozen_parameters_have_no_moments(what, rule):
    changes, beginnings = FROZEN[what]
    shapes = small_experiment(changes | {"optimizer.name": rule}).shapes
    leaves = jax.tree_util.tree_leaves_with_path(shapes.opt_state)
    paths = [path_name(path) for path, _ in leaves]
    for path in leaves_of(shapes.params):
        moments = sum(stored.endswith(f"/{path}") for stored in paths)
        if path.startswith(tuple(beginnings)):
            assert moments == 0, path
        else:
            assert moments == (1 if rule == "sgd" else 2), path


def test_meshes_and_micro_batches_freeze_alike():
    changes = FROZEN["resnet"][0] | HELD
    results = []
    for parts, at in ((1, "single"), (2, "data2_fsdp2_tensor2")):
        experiment = small_experiment(changes | {"train.accumulate": parts}, mesh=at)
        state, scalars = run_steps(experiment, 3, batch=lambda _: host_batch())
        results.append((on_host(state.params), [row["loss"] for row in scalars]))
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-5)
    assert_trees_equal(*(params["backbone"]["resnet"] for params, _ in results))


def test_trained_parameters_go_as_if_alone():
    """Clipping, too, is by the norm of their gradients only."""
    params = dict(
        backbone=dict(resnet=dict(kernel=np.float32([3.0, 4.0]))),
        head=dict(kernel=np.float32([[1.0, 2.0]]), bias=np.float32([0.5])),
    )
    grads = jax.tree.map(lambda p: 100.0 * p, params)
    keys = {"optimizer.weight_decay": 0.1, "optimizer.clip_norm": 0.5}
    alone = make_optimizer(small_config(keys).optimizer, steps=9)
    frozen = make_optimizer(
        small_config(keys | {"optimizer.freeze": "resnet"}).optimizer, steps=9
    )
    trained, grads = dict(head=params["head"]), dict(head=grads["head"])
    expected = alone.update(grads, alone.init(trained), trained)
    actual = frozen.update(grads, frozen.init(params), params)
    assert_trees_equal(actual, expected)


def test_norm_that_is_reported_is_of_the_trained_parameters():
    probe = small_experiment(FROZEN["probe"][0] | HELD, mesh="single")
    whole = small_experiment(mesh="single")
    rows = []
    for experiment in (probe, whole):
        state = new_state(experiment, lively=True)
        rows.append(train_step(experiment)(state, put(experiment, host_batch()))[1])
    assert rows[0].keys() == {"loss", "grad_norm", "grad_norm_head"}
    assert float(rows[0]["grad_norm"]) == float(rows[0]["grad_norm_head"])
    assert float(rows[0]["grad_norm"]) == pytest.approx(
        float(rows[1]["grad_norm_head"]), rel=1e-5
    )
    assert float(rows[0]["grad_norm"]) < 0.99 * float(rows[1]["grad_norm"])


def test_moments_of_a_probe_are_those_of_its_head():
    def bytes_of_moments(freeze):
        config = defaults("r26_vit_b16")
        config.optimizer.freeze, config.model.dtype = freeze, "float32"
        optimizer = make_optimizer(config.optimizer, steps=9)

        def build():
            model = build_model(
                config.model,
                num_classes=1000,
                image_size=(224, 224),
                rngs=nnx.Rngs(params=0),
            )
            return optimizer.init(split_model(model)[1])

        leaves = jax.tree.leaves(jax.eval_shape(build))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    counters = 8  # two int32: of AdamW and of the schedule
    assert bytes_of_moments("") == 2 * 4 * 92_442_664 + counters  # 740 MB
    assert bytes_of_moments("backbone") == 2 * 4 * (769 * 1000) + counters  # 6 MB


def test_profile_counts_no_moments_of_the_frozen():
    whole, probe = (
        describe(small_config({"optimizer.freeze": freeze})) for freeze in ("", "backbone")
    )
    head = 2 * 4 * probe.params["head"]
    assert probe.memory.optimizer == head + 8
    assert whole.memory.optimizer > 10 * head


def test_checkpoint_of_a_partly_frozen_run_comes_back(tmp_path):
    experiment = small_experiment(FROZEN["both"][0], mesh="data2_fsdp2_tensor2")
    state = noise_state(experiment)
    checkpoints = Checkpoints(epath.Path(tmp_path), keep=1, best_metric="")
    checkpoints.save(2, state)
    checkpoints.wait()
    back = checkpoints.restore(experiment.shapes, experiment.shardings)
    checkpoints.close()
    assert_trees_equal(on_host(back), on_host(state))


def statistics(experiment, seed=3):
    """Returns running statistics that no data has, in the shape of the model's."""
    random = np.random.default_rng(seed)
    state = new_state(experiment, lively=True)
    return state.replace(
        mutable=jax.tree.map(
            lambda x: random.uniform(0.5, 2.0, x.shape).astype(np.float32),
            on_host(state.mutable),
        )
    )


@pytest.mark.parametrize(
    ("freeze", "fixed"),
    [
        ("kernel$|norm1/scale$", ()),
        (
            "^backbone/resnet/stem/|/norm[12]/",
            ("backbone/resnet/stem/", *(f"{BLOCK}/norm{n}/" for n in (1, 2))),
        ),
    ],
)
def test_frozen_norm_keeps_its_statistics(freeze, fixed):
    changes = {"optimizer.freeze": freeze, "train.accumulate": 2}
    experiment = small_experiment(BATCH_NORM | changes, mesh="single")
    start = statistics(experiment)
    state = jax.device_put(start, experiment.shardings)
    state, _ = train_step(experiment)(state, put(experiment, host_batch()))
    before, after = leaves_of(start.mutable), leaves_of(on_host(state.mutable))
    assert before
    for path in before:
        kept = path.startswith(fixed)
        assert same_bits(before[path], after[path]) == kept, path


def test_frozen_norm_normalizes_by_its_statistics():
    experiment = small_experiment(BATCH_NORM | FROZEN["resnet"][0], mesh="single")
    state, batch, losses = statistics(experiment), host_batch(), []

    @jax.jit
    def logits_of(params, mutable):
        model = merge_model(experiment.graph, params, mutable)
        images = normalize_image(batch["image"], policy="half")
        return [model(images, train=train).logits for train in (False, True)]

    for logits in map(np.float64, logits_of(state.params, state.mutable)):
        own = logits[np.arange(len(logits)), batch["label"]]
        losses.append(np.mean(np.log(np.exp(logits).sum(1)) - own))
    state = jax.device_put(statistics(experiment), experiment.shardings)
    state, scalars = train_step(experiment)(state, put(experiment, batch))
    assert_trees_equal(on_host(state.mutable), statistics(experiment).mutable)
    assert float(scalars["loss"]) == pytest.approx(losses[0], abs=1e-5)
    assert abs(losses[1] - losses[0]) > 1e-3


@pytest.mark.parametrize("freeze", ["", "^backbone/"])
def test_start_says_what_is_frozen(freeze, capsys):
    experiment = small_experiment({"optimizer.freeze": freeze})
    announce(experiment, epath.Path("runs/here"))
    sizes = {path: leaf.size for path, leaf in leaves_of(experiment.shapes.params).items()}
    head = sum(size for path, size in sizes.items() if path.startswith("head/"))
    told = f"{head:,} of them are trained, {sum(sizes.values()) - head:,} are frozen"
    assert (told in capsys.readouterr().out) == bool(freeze)


def test_join_undoes_split():
    tree = dict(a=dict(b=1, c=dict(d=2)), e=dict(f=3), g=4)
    for frozen in (set(), {"a/b"}, {"a/c/d", "g"}, {"a/b", "a/c/d"}, paths_of(tree)):
        trained, held = split(tree, frozen)
        assert paths_of(held) == frozen
        assert paths_of(trained) == paths_of(tree) - frozen
        assert join(trained, held) == tree
    assert split(tree, {"a/b", "a/c/d"})[0] == dict(e=dict(f=3), g=4)
