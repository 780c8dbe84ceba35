"""Uploads and downloads of exported folders, against a stub of huggingface_hub."""

import sys
import types

import pytest

import hybrid_jax
from hybrid_jax.errors import UserError


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of one repository, whose files lie in `hub.store`."""
    stub = types.ModuleType("huggingface_hub")
    stub.calls, stub.store = [], tmp_path / "store"

    def create_repo(repo_id, **options):
        if repo_id.startswith("nobody/"):
            raise PermissionError("403 Forbidden\nmore")
        stub.calls.append(("create", repo_id, options))

    def upload_folder(*, repo_id, folder_path, commit_message):
        stub.calls.append(("upload", repo_id, folder_path, commit_message))
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(repo_id, *, revision):
        stub.calls.append(("download", repo_id, revision))
        return str(stub.store)

    stub.create_repo, stub.upload_folder = create_repo, upload_folder
    stub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", stub)
    return stub


def folder_in(place):
    place.mkdir()
    for name in ("model.json", "model.stablehlo", "README.md"):
        (place / name).write_text("{}")
    return place


def test_folder_is_uploaded_to_a_private_repository(hub, tmp_path):
    folder = folder_in(tmp_path / "folder")
    address = hybrid_jax.push_to_hub(folder, "ann/birds")
    assert address == "https://hub/ann/birds/commit/1"
    create, upload = hub.calls
    assert create == ("create", "ann/birds", dict(private=True, exist_ok=True))
    assert upload[:3] == ("upload", "ann/birds", str(folder))
    with pytest.raises(UserError, match=r"nobody/birds: 403 Forbidden Check the name"):
        hybrid_jax.push_to_hub(folder, "nobody/birds")


def test_folder_may_begin_with_the_home_directory(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    hybrid_jax.push_to_hub("~/" + folder_in(tmp_path / "folder").name, "ann/birds")
    assert hub.calls[1][:3] == ("upload", "ann/birds", str(tmp_path / "folder"))


def test_any_other_folder_is_not_uploaded(hub, tmp_path):
    with pytest.raises(UserError, match="expected one that --mode=export has written"):
        hybrid_jax.push_to_hub(tmp_path, "ann/birds")
    assert not hub.calls


def test_program_is_downloaded_and_loaded(hub, monkeypatch):
    folder_in(hub.store)
    loaded = []
    monkeypatch.setattr(
        "hybrid_jax.exporting.hub.load_model", lambda folder: loaded.append(folder)
    )
    hybrid_jax.from_hub("ann/birds", revision="v1")
    assert hub.calls == [("download", "ann/birds", "v1")]
    assert loaded == [str(hub.store)]
    (hub.store / "model.stablehlo").unlink()
    with pytest.raises(UserError, match="ann/birds has no model.stablehlo"):
        hybrid_jax.from_hub("ann/birds")


def test_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[hub\]'"):
        hybrid_jax.push_to_hub(folder_in(tmp_path / "folder"), "ann/birds")
