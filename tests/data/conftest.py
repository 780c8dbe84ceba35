"""Keeps the tests away from the caches of whoever runs them."""

import pytest


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("hybrid_jax_data")
    monkeypatch.setenv("HYBRID_JAX_DATA", str(folder))
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
    return folder
