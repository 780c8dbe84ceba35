"""Who may go on with a run, and which of its rows stay."""

import json
import re

import pytest
from etils import epath
from small_run import small_config

from hybrid_jax.config import resolve
from hybrid_jax.config.renamed_keys import RENAMED_KEYS
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.workdir import (
    check_same_model,
    claim,
    forget_after,
    saved_config,
    sizes_of_run,
)


def claimed(path, changes=None):
    claim(epath.Path(path), small_config(changes))


def with_checkpoint(path):
    (path / "checkpoints" / "6").mkdir(parents=True)


def test_claim_writes_the_config(tmp_path):
    claimed(tmp_path / "runs/new")
    saved = json.loads((tmp_path / "runs/new/config.json").read_text())
    assert saved["data"]["image_size"] == 16
    claimed(tmp_path / "runs/new")


def test_saved_config_is_the_one_that_was_claimed(tmp_path):
    changes = {"data.image_size": (16, 24), "model.resnet_options.blocks": (1, 2)}
    claimed(tmp_path, changes)
    assert saved_config(epath.Path(tmp_path)).to_dict() == small_config(changes).to_dict()


def test_key_younger_than_the_run_has_its_default(tmp_path):
    claimed(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"seed": 0', '"older": 0'))
    assert saved_config(epath.Path(tmp_path)).seed == 0


@pytest.mark.parametrize(
    ("key", "there", "here"),
    [
        ("seed", 0, 3),
        ("model.vit_options.depth", 2, 4),
        ("optimizer.learning_rate", 0.001, 0.01),
        ("train.batch_size", 8, 16),
        ("data.name", "digits", "shapes"),
        ("task.mixup", 0.0, 0.5),
    ],
)
def test_run_that_differs_where_it_matters_is_refused(tmp_path, key, there, here):
    claimed(tmp_path)
    with_checkpoint(tmp_path)
    before = (tmp_path / "config.json").read_text()
    expected = (
        f"{tmp_path} holds another run; these keys differ:\n"
        f"    {key}: there {there!r}, here {here!r}\n"
        f"  Use the same values to continue it, or another --workdir."
    )
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        claimed(tmp_path, {key: here})
    assert (tmp_path / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.steps", 500),
        ("log.every", 7),
        ("eval.split", "test"),
        ("checkpoint.keep", 9),
        ("data.workers", 2),
        ("mesh.fsdp", 2),
    ],
)
def test_harmless_change_is_said_and_recorded(tmp_path, key, value, capsys):
    claimed(tmp_path)
    with_checkpoint(tmp_path)
    claimed(tmp_path, {key: value})
    assert f"continuing with config.{key} = {value!r} (was " in capsys.readouterr().out
    claimed(tmp_path, {key: value})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("now", [1.0, 2.0])
def test_run_older_than_a_key_continues_with_its_default(tmp_path, now):
    claimed(tmp_path)
    with_checkpoint(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["task"]["detection"].pop("class_weight") == 1.0
    (tmp_path / "config.json").write_text(json.dumps(saved))
    changes = {"task.detection.class_weight": now}
    if now == 1.0:
        claimed(tmp_path, changes)
    else:
        with pytest.raises(UserError, match="class_weight: there 1.0, here 2.0"):
            claimed(tmp_path, changes)


@pytest.mark.parametrize(("older", "now"), [(False, "none"), (True, "full")])
def test_run_of_when_remat_was_a_boolean_continues(tmp_path, older, now):
    changes = {"model.vit_options.remat": now}
    claimed(tmp_path, changes)
    with_checkpoint(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    saved["model"]["vit_options"]["remat"] = older
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert saved_config(epath.Path(tmp_path)).model.vit_options.remat == now
    claimed(tmp_path, changes)
    with pytest.raises(UserError, match=f"remat: there '{now}', here 'dots'"):
        claimed(tmp_path, {"model.vit_options.remat": "dots"})


def test_workdir_without_a_checkpoint_may_be_taken_over(tmp_path):
    claimed(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    claimed(tmp_path, {"train.batch_size": 16})
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["train"]["batch_size"] == 16


def test_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(UserError, match=r"config.json is not the JSON of a .*start again"):
        claimed(tmp_path)


def test_evaluation_asks_only_for_the_same_model_and_data(tmp_path):
    claimed(tmp_path)
    other = {"optimizer.learning_rate": 0.5, "train.batch_size": 16, "seed": 4}
    check_same_model(
        epath.Path(tmp_path), small_config(other | {"model.dtype": "bfloat16"})
    )
    with pytest.raises(UserError, match="model.vit_options.depth: there 2, here 4"):
        check_same_model(epath.Path(tmp_path), small_config({"model.vit_options.depth": 4}))


def test_evaluation_takes_the_sizes_of_the_run(tmp_path):
    run = resolve(small_config({"data.image_size": 24}), on_cpu=True)
    claim(epath.Path(tmp_path), run)
    config = small_config()
    with config.ignore_type():
        config.data.image_size = None
    sizes = sizes_of_run(epath.Path(tmp_path), config)
    assert sizes["data.image_size"] == (24, 24)


def test_forget_after_drops_later_rows_and_half_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [
        '{"step": 1, "split": "train", "loss": 0.30000000000000004}\n',
        '{"step": 2, "split": "train", "loss": 2.0}\n',
        '{"step": 2, "split": "validation", "top1": 0.5}\n',
        '{"step": 3, "split": "train", "loss": 3.0}\n',
        '{"step": 4, "split": "tra',
    ]
    path.write_text("".join(rows))
    forget_after(epath.Path(tmp_path), 2)
    assert path.read_text() == "".join(rows[:3])
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_forget_after_drops_half_a_line_of_a_kept_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "train"}\n{"step": 2, "sp')
    forget_after(epath.Path(tmp_path), 9)
    assert path.read_text() == '{"step": 1, "split": "train"}\n'


def test_forget_after_needs_no_file(tmp_path):
    forget_after(epath.Path(tmp_path), 5)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("old", RENAMED_KEYS)
def test_run_begun_under_an_old_key_continues(tmp_path, old):
    new = RENAMED_KEYS[old]
    config = small_config()
    *branch, name = new.split(".")
    if len(branch) == 3 and branch[0] == "model":  # no default: set one
        config.model[branch[1]].unlock()[branch[2]] = {name: 5}
    claim(epath.Path(tmp_path), config)
    with_checkpoint(tmp_path)
    path = tmp_path / "config.json"
    saved = value = json.loads(path.read_text())
    for key in branch:
        value = value[key]
    value[old.rpartition(".")[2]] = value.pop(name)
    path.write_text(json.dumps(saved))
    claim(epath.Path(tmp_path), config)
    assert saved_config(epath.Path(tmp_path)).to_dict() == config.to_dict()
