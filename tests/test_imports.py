"""What an import costs and what the package offers."""

import subprocess
import sys

import pytest

import hybrid_jax


def modules_after(statement):
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_loads_neither_jax_nor_tensorflow():
    loaded = modules_after("import hybrid_jax")
    assert not loaded & {"jax", "flax", "numpy", "tensorflow", "torch"}


def test_config_loads_without_jax():
    # `main --help` and every mistake in a config are answered at once.
    loaded = modules_after("import hybrid_jax.config, hybrid_jax.config.recipes")
    assert not loaded & {"jax", "flax", "tensorflow"}


def test_models_load_without_tensorflow():
    loaded = modules_after("import hybrid_jax; hybrid_jax.list_fusions()")
    assert "jax" in loaded
    assert not loaded & {"tensorflow", "torch"}


@pytest.mark.parametrize("name", hybrid_jax.__all__)
def test_public_name_is_there_and_listed(name):
    assert getattr(hybrid_jax, name) is not None
    assert name in dir(hybrid_jax)


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = hybrid_jax.create_modle


def test_lists_agree_with_what_can_be_created():
    assert "r26_vit_b16" in hybrid_jax.list_models()
    assert {"sequential", "resnet", "vit"} <= set(hybrid_jax.list_fusions())
    assert "linear" in hybrid_jax.list_heads()
