"""Local files of weights: paths, downloads from the Hugging Face hub and from buckets."""

import functools
import os
import pathlib
from collections.abc import Callable

from etils import epath

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.files.published import PUBLISHED
from hybrid_jax.pretrained.files.shards import INDEX, file_in, shard_names

_HUB_FILES = ("model.safetensors", "config.json", "preprocessor_config.json")


def local_file(source: str | pathlib.Path) -> pathlib.Path:
    """Returns the local path of `source`, after downloading it if necessary.

    Args:
        source: a path; `hf://owner/name`, sharded or not, or `hf://owner/name/file`;
            `gs://bucket/file`; or a name in `published.PUBLISHED`. An existing path has
            priority; a folder stands for `model.safetensors`, or its index, in it.

    Raises:
        UserError: unknown name, or the download failed.
    """
    text = os.fspath(source)
    path = pathlib.Path(text).expanduser()
    if path.exists():
        return (file_in(path) if path.is_dir() else None) or path
    if text.startswith("hf://"):
        return _from_hub(text)
    if "://" in text:
        return _from_bucket(text)
    if text in PUBLISHED:
        return _from_hub(f"hf://{PUBLISHED[text]}")
    raise UserError(
        f"pretrained weights {text!r}: no such file or name.{nearest(text, PUBLISHED)} "
        f"Expected a path, hf://owner/name, gs://bucket/file, or one of "
        f"{', '.join(PUBLISHED)}."
    )


def _from_hub(url: str) -> pathlib.Path:
    """Downloads with the hub's cache; HF_HUB_OFFLINE=1 uses only cached files."""
    try:
        # An optional package, of the extra `hub`.
        import huggingface_hub  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"{url}: downloading from the hub needs huggingface_hub: pip install -e "
            f"'.[hub]', or download the file and pass its path."
        ) from error
    parts = url.removeprefix("hf://").split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise UserError(f"{url}: expected hf://owner/name or hf://owner/name/file.")
    repository = "/".join(parts[:2])
    wanted = parts[2] if len(parts) == 3 else _HUB_FILES[0]
    fetch = functools.partial(huggingface_hub.hf_hub_download, repository)
    try:
        path = pathlib.Path(_whole_or_sharded(fetch, wanted))
        if path.name.endswith(".index.json"):
            for shard in shard_names(path):
                fetch(shard)
    except UserError:
        raise
    except Exception as error:  # its errors have no common base class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{url}: {wanted} cannot be downloaded ({reason}). Check the name and the "
            f"connection, or download the file and pass its path."
        ) from error
    for sidecar in _HUB_FILES[1:]:
        try:
            fetch(sidecar)
        except Exception:  # these files are optional
            continue
    return path


def _whole_or_sharded(fetch: Callable[[str], str], wanted: str) -> str:
    """Downloads a file, or the index that stands for it where it is sharded."""
    try:
        return fetch(wanted)
    except Exception as error:  # its errors have no common base class
        if wanted != _HUB_FILES[0]:
            raise
        try:
            return fetch(INDEX)
        except Exception:
            raise error from None


def _from_bucket(url: str) -> pathlib.Path:
    """Copies a file from a bucket to the cache, unless it is there already."""
    default = pathlib.Path("~/.cache/hybrid_jax/weights").expanduser()
    folder = pathlib.Path(os.environ.get("HJ_WEIGHTS", default))
    kept = folder / url.replace("://", "/").replace("/", "_")
    if kept.exists():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    arriving = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        epath.Path(url).copy(arriving)
    except Exception as error:  # each file system has its own errors
        arriving.unlink(missing_ok=True)
        raise UserError(
            f"{url}: cannot be copied ({str(error).splitlines()[:1]}). Buckets need "
            f"pip install -e '.[gcs]' and read permission."
        ) from error
    arriving.replace(kept)
    return kept
