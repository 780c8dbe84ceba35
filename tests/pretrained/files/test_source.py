"""What a user may name: a path first, then the hub, a bucket, or a published name."""

import sys
import types

import pytest

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.files import source
from hybrid_jax.pretrained.files.published import PUBLISHED, list_pretrained


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of one repository, with weights and a description; remembers requests."""
    asked = []

    def hf_hub_download(repository, name):
        asked.append((repository, name))
        if name == "preprocessor_config.json":
            raise FileNotFoundError("404")
        if repository == "nobody/nothing":
            raise OSError("offline mode is enabled\nand more lines")
        path = tmp_path / name
        path.write_text(repository)
        return str(path)

    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = hf_hub_download
    module.asked = asked
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def test_existing_path_comes_before_a_published_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "R26_S_32").write_text("mine")
    assert source.local_file("R26_S_32").read_text() == "mine"


def test_hub_address_fetches_weights_and_what_describes_them(hub):
    path = source.local_file("hf://timm/some_model")
    assert path.name == "model.safetensors"
    assert path.read_text() == "timm/some_model"
    assert [name for _, name in hub.asked] == [
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
    ]


def test_hub_address_may_name_the_file(hub):
    assert source.local_file("hf://owner/name/R26.npz").name == "R26.npz"


def test_published_name_is_a_hub_address(hub):
    assert source.local_file("R50_L_32").read_text() == PUBLISHED["R50_L_32"]
    assert "R50_L_32" in list_pretrained()


def test_file_that_cannot_be_fetched_says_why_and_what_to_do(hub):
    message = r"offline mode is enabled\)\. Check the name .* download the file"
    with pytest.raises(UserError, match=message):
        source.local_file("hf://nobody/nothing")


@pytest.mark.parametrize("url", ["hf://owner", "hf://a/b/c/d", "hf:///name"])
def test_malformed_hub_address_is_refused(hub, url):
    with pytest.raises(UserError, match="expected hf://owner/name"):
        source.local_file(url)
    assert not hub.asked


def test_missing_hub_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        UserError, match=r"needs huggingface_hub: pip install -e '.\[hub\]'"
    ):
        source.local_file("hf://timm/some_model")


def test_bucket_file_is_copied_once_and_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("HJ_WEIGHTS", str(tmp_path / "kept"))
    copies = []

    class Bucket:
        def __init__(self, url):
            self.url = url

        def copy(self, to):
            copies.append(self.url)
            to.write_text("weights")
            if "broken" in self.url:
                raise OSError("connection lost")

    monkeypatch.setattr(source.epath, "Path", Bucket)
    first = source.local_file("gs://bucket/a/R26.npz")
    assert first.read_text() == "weights"
    assert source.local_file("gs://bucket/a/R26.npz") == first
    assert copies == ["gs://bucket/a/R26.npz"]
    assert source.local_file("gs://bucket/b/R26.npz") != first
    with pytest.raises(UserError, match="connection lost.*pip install -e '.\\[gcs\\]'"):
        source.local_file("gs://bucket/broken.npz")
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {first.name, first.name.replace("_a_", "_b_")}


def test_unknown_name_lists_what_would_do():
    with pytest.raises(UserError, match="'R26_S_23'.*Did you mean 'R26_S_32'.*gs://"):
        source.local_file("R26_S_23")
