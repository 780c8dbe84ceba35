"""Files of named arrays: what is in them is listed at once, and read array by array.

The kind of a file is told from its first bytes, never from its name. Nothing that could
run code is ever read: `.npz` members must be plain arrays, and pickles are refused.
"""

import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable

import ml_dtypes
import numpy as np
import safetensors
from numpy.lib import format as npy

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.dialect import Stored, StoredArray

_CONVERT = (
    "Convert it where it was made: safetensors.torch.save_file(model.state_dict(), "
    "'model.safetensors'), or np.savez('model.npz', **flat_arrays)."
)


_DAMAGE = (zipfile.BadZipFile, zlib.error, safetensors.SafetensorError)


def open_arrays(path: str | pathlib.Path) -> Stored:
    """Lists the arrays of an `.npz` or `.safetensors` file without reading them.

    Raises:
        UserError: no such file, another kind of file, a pickle, or a damaged one.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UserError(
            f"{path} is a folder. Name the file in it: {path / 'model.safetensors'}, say."
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected an .npz or .safetensors file.")
    with open(path, "rb") as file:
        head = file.read(16)
    # First, as the length a safetensors file begins with may look like anything.
    if _begins_safetensors(head):
        return _safetensors(path)
    if head[:2] == b"PK":
        return _npz(path)
    if head[:1] == b"\x80":
        raise UserError(f"{path} is a pickle, which could run any code. {_CONVERT}")
    raise UserError(
        f"{path} is neither .npz nor .safetensors (it begins with {head[:8]!r}). {_CONVERT}"
    )


def _begins_safetensors(head: bytes) -> bool:
    """Tells whether a file begins with the length of a JSON header and its brace."""
    return head[8:9] == b"{" and head[6:8] == b"\0\0"


def _npz(path: pathlib.Path) -> Stored:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("data.pkl") for name in names):
                raise UserError(
                    f"{path} is a torch pickle, which could run any code. {_CONVERT}"
                )
            return {
                name.removesuffix(".npy"): _npz_member(archive, path, name)
                for name in names
            }
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _damaged(path, error) from error


def _npz_member(archive: zipfile.ZipFile, path: pathlib.Path, name: str) -> StoredArray:
    key = name.removesuffix(".npy")
    with archive.open(name) as member:
        try:
            version = npy.read_magic(member)
            read_header = {
                (1, 0): npy.read_array_header_1_0,
                (2, 0): npy.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(member)
        except (ValueError, KeyError) as error:
            raise UserError(f"{path}: {key!r} is not an array ({error}).") from error
    if dtype.hasobject:
        raise UserError(
            f"{path}: {key!r} holds pickled objects, which could run any code. {_CONVERT}"
        )
    # bfloat16 has no name in the format: numpy writes it as two raw bytes.
    stored = np.dtype(ml_dtypes.bfloat16) if dtype == np.dtype("V2") else dtype

    def read() -> np.ndarray:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            return npy.read_array(member, allow_pickle=False).view(stored)

    return StoredArray(shape, stored, _guarded(read, path, key))


def _safetensors(path: pathlib.Path) -> Stored:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = file.keys()
            slices = {name: file.get_slice(name) for name in names}
            shapes = {name: tuple(s.get_shape()) for name, s in slices.items()}
            kinds = {name: s.get_dtype() for name, s in slices.items()}
    except (safetensors.SafetensorError, struct.error) as error:
        raise _damaged(path, error) from error

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with safetensors.safe_open(path, framework="numpy") as file:
                return file.get_tensor(name)

        return _guarded(read, path, name)

    return {
        name: StoredArray(shape, _safetensors_dtype(kinds[name], path), reader(name))
        for name, shape in shapes.items()
    }


_SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def _safetensors_dtype(name: str, path: pathlib.Path) -> np.dtype:
    if name not in _SAFETENSORS_DTYPES:
        raise UserError(
            f"{path}: arrays of type {name} cannot be read. "
            f"Known: {', '.join(_SAFETENSORS_DTYPES)}."
        )
    return np.dtype(_SAFETENSORS_DTYPES[name])


def _guarded(read, path: pathlib.Path, name: str) -> Callable[[], np.ndarray]:
    """Turns what can go wrong inside a damaged file into one message."""

    def guarded() -> np.ndarray:
        try:
            array = read()
        except OSError as error:
            raise UserError(f"{path}: {name!r} cannot be read ({error}).") from error
        except (*_DAMAGE, ValueError, EOFError) as error:
            raise _damaged(path, error, name=name) from error
        # One look now saves a run that would end in NaN; "V" is the kind of bfloat16.
        if array.dtype.kind in "fV" and not np.isfinite(_float32(array)).all():
            raise UserError(
                f"{path}: {name!r} holds NaN or infinite values. The file was saved from "
                f"a run that had diverged, or is damaged; use another one."
            )
        return array

    return guarded


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        return array.astype(np.float32, copy=False)


def _damaged(path: pathlib.Path, error: Exception, *, name: str = "") -> UserError:
    inside = f" in {name!r}" if name else ""
    return UserError(
        f"{path} is damaged{inside} ({error}). Download or copy it again; its size is "
        f"{path.stat().st_size:,} bytes."
    )
