"""Exported folders on the Hugging Face hub: put there, and loaded from there."""

import pathlib
from collections.abc import Callable
from typing import Any

from hybrid_jax.errors import UserError
from hybrid_jax.exporting.load_model import load_model

_PROGRAMS = ("model.stablehlo", "model.onnx")


def push_to_hub(
    folder: str | pathlib.Path,
    repo_id: str,
    *,
    private: bool = True,
    message: str = "Upload a model of hybrid_jax",
) -> str:
    """Uploads a folder that `--mode=export` has written, with its model card.

    The token is the one that `hf auth login` keeps, or HF_TOKEN. Read the card before: its
    license has to be set.

    Args:
        folder: of an exported program.
        repo_id: "owner/name"; made if it does not exist.
        private: whether a new repository is; an existing one stays as it is.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        UserError: no exported program there, no huggingface_hub, or the hub refuses.
    """
    folder = pathlib.Path(folder).expanduser()
    if not (folder / "model.json").exists() or not any(
        (folder / name).exists() for name in _PROGRAMS
    ):
        raise UserError(
            f"push_to_hub: folder: expected one that --mode=export has written, with "
            f"model.json and {' or '.join(_PROGRAMS)}, got {folder}."
        )
    hub = _library()
    try:
        hub.create_repo(repo_id, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repo_id, folder_path=str(folder), commit_message=message
        )
    except Exception as error:  # its errors have no common base class
        raise _refused("push_to_hub", repo_id, error) from error
    return str(commit)


def from_hub(
    repo_id: str, *, revision: str | None = None
) -> tuple[Callable[[Any], dict], dict[str, Any]]:
    """Downloads an exported StableHLO program and loads it.

    The program is data; no code of the repository is run.

    Args:
        repo_id: "owner/name".
        revision: branch, tag or commit; None for the newest.

    Returns:
        `run`, which maps images to a dict of arrays, and the content of `model.json`.

    Raises:
        UserError: huggingface_hub is missing, no such repository, or no program in it.
    """
    hub = _library()
    try:
        folder = hub.snapshot_download(repo_id, revision=revision)
    except Exception as error:  # its errors have no common base class
        raise _refused("from_hub", repo_id, error) from error
    if not (pathlib.Path(folder) / "model.stablehlo").exists():
        raise UserError(
            f"from_hub: {repo_id} has no model.stablehlo. Weights of other libraries load "
            f"with load_pretrained('hf://{repo_id}')."
        )
    return load_model(folder)


def _library() -> Any:
    try:
        # An optional package, of the extra `hub`.
        import huggingface_hub  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "the hub needs huggingface_hub: pip install -e '.[hub]'."
        ) from error
    return huggingface_hub


def _refused(where: str, repo_id: str, error: Exception) -> UserError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(
        f"{where}: {repo_id}: {reason} Check the name, the connection and the token "
        f"(hf auth login)."
    )
