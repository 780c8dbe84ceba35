"""What cannot be frozen is refused with one line, before anything is compiled."""

import re

import jax
import pytest
from small_run import small_config
from train_examples import small_experiment

from hybrid_jax.config import check
from hybrid_jax.errors import UserError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer.freeze": "^bakbone/resnet/"},
            r"config.optimizer.freeze: '\^bakbone/resnet/' finds none of the model's \d+ "
            r"parameters. Did you mean 'backbone/resnet'.* such as backbone/resnet/stages/",
        ),
        ({"optimizer.freeze": "zzzz"}, r"'zzzz' finds none .* head/logits/kernel\."),
        ({"optimizer.freeze": "."}, r"freezes all \d+ parameters.* head/logits/kernel\."),
        (
            {"optimizer.freeze": "backbone", "optimizer.branch.head": 0.0},
            r"optimizer.branch is 0.0 it freezes all \d+ parameters",
        ),
        (
            {f"optimizer.branch.{name}": 0.0 for name in ("resnet", "vit", "head")},
            "freezes all",
        ),
    ],
)
def test_mistake_is_named_before_anything_is_compiled(changes, message, monkeypatch):
    compiled = []
    monkeypatch.setattr(jax, "jit", lambda *_, **__: compiled.append(True))
    with pytest.raises(UserError, match=message) as error:
        small_experiment(changes)
    assert "\n" not in str(error.value)
    assert not compiled


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("optimizer.freeze", "^backbone/(", "a regular expression"),
        ("optimizer.no_decay", "[", "a regular expression"),
        ("optimizer.layer_decay", 0.0, "a factor in (0, 1]"),
        ("optimizer.layer_decay", 1.5, "a factor in (0, 1]"),
        ("optimizer.branch.vit", -1.0, "zero or more"),
    ],
)
def test_value_out_of_its_range_is_refused(key, value, expected):
    message = re.escape(f"config.{key}: expected {expected}, got {value!r}.")
    with pytest.raises(UserError, match=message):
        check(small_config({key: value}))
