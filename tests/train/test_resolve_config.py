"""Everything that decides a key of a run's config, and what `--mode=config` says of it."""

import jax
import pytest
from etils import epath
from small_run import command, environment, run_well, small_config

from hybrid_jax.config import to_json
from hybrid_jax.config.keys import tree
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.workdir import claim, flat
from hybrid_jax.train.reporting.show_config import show_config
from hybrid_jax.train.resolve_config import resolve_config

LEFT_OPEN = {"data.image_size": None, "model.dtype": "auto"}
LEFT_OPEN |= {"train.batch_size": None, "eval.batch_size": None}


@pytest.fixture(scope="module")
def digits():
    return open_source("digits", split="train")


@pytest.fixture
def workdir(tmp_path, digits):
    """A workdir whose run was 24 px large and took its images from a file of weights."""
    config = small_config({"data.image_size": 24, "train.steps": 7})
    claim(epath.Path(tmp_path), resolve_config(config, source=digits).config)
    (tmp_path / "checkpoints" / "6").mkdir(parents=True)
    return epath.Path(tmp_path)


def test_nothing_stays_open_and_the_argument_is_left_alone(digits):
    config = small_config(LEFT_OPEN)
    before = to_json(config)
    resolved = resolve_config(config, source=digits)
    assert to_json(config) == before
    found = resolved.config
    assert (found.data.image_size, found.train.batch_size) == ((64, 64), 32)
    assert (found.model.dtype, found.eval.batch_size) == ("float32", 32)
    assert found.checkpoint.best_metric == "top1"
    assert resolved.left_to_hardware == ("image_size", "batch_size", "steps")
    assert resolved.mesh.size == jax.device_count()


def test_resolved_config_cannot_be_changed(digits):
    config = resolve_config(small_config(), source=digits).config
    with pytest.raises(AttributeError, match="immutable"):
        config.train.steps = 3
    assert resolve_config(config, source=digits).config == config


def test_epochs_need_the_length_of_the_data(digits):
    config = small_config({"train.epochs": 2.0, "train.batch_size": 16})
    with_data = resolve_config(config, source=digits).config
    assert with_data.train.steps == 2 * len(digits) // 16
    assert resolve_config(config, source=None).config.train.steps is None


@pytest.mark.parametrize("taken", [True, False])
def test_sizes_are_those_of_the_run_only_where_asked(workdir, digits, taken):
    config = small_config({"data.image_size": None, "train.steps": None})
    resolved = resolve_config(config, source=digits, workdir=workdir, sizes_from_run=taken)
    side, steps = (24, 7) if taken else (64, 160)
    assert tuple(resolved.config.data.image_size) == (side, side)
    assert resolved.config.train.steps == steps
    assert bool(resolved.left_to_hardware) != taken


def test_weights_are_not_looked_for_where_a_checkpoint_holds_them(workdir, digits):
    path = workdir / "config.json"
    named = path.read_text().replace('"pretrained": ""', '"pretrained": "/gone.npz"')
    path.write_text(named.replace('"normalization": "half"', '"normalization": "imagenet"'))
    config = small_config({"model.pretrained": "/gone.npz"})
    resolved = resolve_config(config, source=digits, workdir=workdir)
    assert resolved.weights is None
    assert resolved.config.model.normalization == "imagenet"
    with pytest.raises(UserError, match="gone.npz"):
        resolve_config(config, source=digits)
    assert resolve_config(config, source=digits, continued=True).weights is None


def test_every_key_is_shown_and_those_that_differ_are_marked(tmp_path, capsys, digits):
    config = small_config({"train.epochs": 2.0})
    values = show_config(config, str(tmp_path / "none"))
    assert values == flat(resolve_config(config, source=digits).config.to_dict())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(values) + 1
    usual = flat(tree().to_dict())
    for line, (key, value) in zip(lines, sorted(values.items()), strict=False):
        assert line[2:].startswith(f"{key} = {value!r}")
        assert line.startswith("* ") == (usual.get(key) != value)
    assert "* data.image_size = (16, 16)   (default: None)" in lines
    assert "  seed = 0" in lines
    assert lines[-1].endswith(f" of {len(values)} keys (*) are not the default")
    assert not list(tmp_path.iterdir())


def test_data_that_is_not_there_leaves_the_steps_open(tmp_path, capsys):
    config = small_config({"data.name": "folder:/nowhere", "train.epochs": 2.0})
    assert show_config(config, str(tmp_path))["train.steps"] is None
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("train.steps is not known: data 'folder:/nowhere': there is no")


def test_mode_config_compiles_nothing_and_ends_well(tmp_path):
    # Every program that is compiled would be kept there.
    cache, workdir = tmp_path / "cache", tmp_path / "run"
    cache.mkdir()
    words = command(workdir, {"train.steps": 3}, "--mode=config")
    keep_all = {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    done = run_well(words, env=environment(HJ_CACHE=str(cache), **keep_all))
    assert "* train.steps = 3   (default: None)" in done.stdout
    assert done.stderr == ""
    assert not list(cache.iterdir())
    assert not workdir.exists()
