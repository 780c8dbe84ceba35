"""The generated pages: every key, fusion and head with what the code says about it."""

import configuration_reference
import pytest
import registry_pages

from hybrid_jax.config import defaults
from hybrid_jax.config.keys import tree
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS


def leaves(node, path=""):
    """Yields the path of every key that holds no further keys."""
    for name, value in node.items():
        if hasattr(value, "items") and len(value):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def test_every_key_is_there_once():
    keys, _ = configuration_reference.keys_and_branches()
    assert sorted(key.path for key in keys) == sorted(leaves(tree()))


def test_every_key_and_branch_has_a_comment():
    keys, branches = configuration_reference.keys_and_branches()
    silent = [key.path for key in keys if not key.comment]
    silent += [path for path, comment in branches.items() if not comment]
    assert not silent, f"no comment in the code on {', '.join(silent)}"


def test_comments_belong_to_their_keys():
    comments = configuration_reference.comments_by_path()
    assert comments["mesh.fsdp_min_elements"].startswith("Under fsdp")
    assert comments["eval.restore"].startswith("--mode=evaluate")
    assert comments["model.attention"].startswith('"xla", "cudnn"')
    tokens = comments["model.vit_options.num_register_tokens"]
    assert tokens.startswith("learned extra tokens")
    assert comments["checkpoint.best_metric"].endswith('own; "": none.')


def test_every_comment_is_of_a_key():
    known = {*leaves(tree()), *configuration_reference.keys_and_branches()[1]}
    stray = set(configuration_reference.comments_by_path()) - known
    # `model.dtype` speaks for both parts.
    assert stray == {"model.resnet_options.dtype", "model.vit_options.dtype"}


def test_defaults_are_the_values_of_the_tree():
    keys, _ = configuration_reference.keys_and_branches()
    shown = {key.path: key.default for key in keys}
    config = defaults("r26_vit_b16")
    assert shown["optimizer.learning_rate"] == repr(config.optimizer.learning_rate)
    assert shown["data.image_size"] == "None"
    assert shown["mesh.fsdp_min_elements"] == "4096"


def test_page_has_a_row_for_every_key():
    page = configuration_reference.sections()
    keys, branches = configuration_reference.keys_and_branches()
    assert page.count("\n| `") == len(keys)
    for branch in branches:
        assert f"# `{branch}`" in page


@pytest.mark.parametrize("registry", [FUSIONS, HEADS], ids=lambda r: r.kind)
def test_every_entry_has_a_section_and_every_option_a_meaning(registry):
    sections = f"\n{registry_pages.sections(registry)}".split("\n## ")[1:]
    assert [text.split("\n")[0] for text in sections] == list(registry.names())
    silent = [
        f"{text.split()[0]}: {line}"
        for text in sections
        for line in text.splitlines()
        if line.startswith("| `") and line.endswith("|  |")
    ]
    assert not silent, f"no meaning in the docstring of {silent}"
