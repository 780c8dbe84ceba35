"""Reading of `.npz` and `.safetensors` files: arrays are listed first and read one by one.

The format is detected from the first bytes, not from the name. Files that could run code
are never read: `.npz` members must be plain arrays, and pickles raise an error.
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
from hybrid_jax.pretrained.files.shards import read_index, refuse_single_shard

_CONVERT = (
    "Convert it where it was saved: safetensors.torch.save_file(model.state_dict(), "
    "'model.safetensors'), or np.savez('model.npz', **flat_arrays)."
)


_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, safetensors.SafetensorError),
    # A damaged zip directory points outside the file, says that a member is encrypted or
    # packed in an unknown way, or that it is larger than the memory; damaged headers are no
    # Python literals.
    *(OSError, EOFError, RuntimeError, NotImplementedError, MemoryError, OverflowError),
    *(ValueError, SyntaxError, TypeError),
)


def open_arrays(path: str | pathlib.Path) -> Stored:
    """Lists the arrays of an `.npz` or `.safetensors` file without reading them.

    Args:
        path: of the file, or of the index of sharded files.

    Raises:
        UserError: no such file, another format, a pickle, or a damaged file.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UserError(
            f"{path} is a folder. Name the file in it, such as "
            f"{path / 'model.safetensors'}."
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected an .npz or .safetensors file.")
    with open(path, "rb") as file:
        head = file.read(16)
    if path.name.endswith(".json"):
        return _sharded(path)
    refuse_single_shard(path)
    # First, because the length at the start of a safetensors file may be any bytes.
    if _begins_safetensors(head):
        return _safetensors(path)
    if head[:2] == b"PK":
        return _npz(path)
    if head[:1] == b"\x80":
        raise UserError(f"{path} is a pickle, which may run code. {_CONVERT}")
    raise UserError(
        f"{path} is neither .npz nor .safetensors (it begins with {head[:8]!r}). {_CONVERT}"
    )


def _sharded(index: pathlib.Path) -> Stored:
    files = read_index(index)
    shards = {file: _safetensors(file) for file in sorted(set(files.values()))}
    for name, file in files.items():
        if name not in shards[file]:
            raise UserError(
                f"{index}: the shard {file.name} does not hold {name!r}, as the index "
                f"says. Download both again."
            )
    return {name: shards[file][name] for name, file in files.items()}


def _begins_safetensors(head: bytes) -> bool:
    """Whether a file begins with the length of a JSON header and a brace."""
    return head[8:9] == b"{" and head[6:8] == b"\0\0"


def _npz(path: pathlib.Path) -> Stored:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("data.pkl") for name in names):
                raise UserError(f"{path} is a torch pickle, which may run code. {_CONVERT}")
            return {
                name.removesuffix(".npy"): _npz_member(archive, path, name)
                for name in names
            }
    except UserError:
        raise
    except _DAMAGE as error:
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
            f"{path}: {key!r} holds pickled objects, which may run code. {_CONVERT}"
        )
    # The format has no bfloat16: numpy writes it as two raw bytes.
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
    except _DAMAGE as error:
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
            f"{path}: expected arrays of type {', '.join(_SAFETENSORS_DTYPES)}, got "
            f"{name}. Convert the file to one of these types."
        )
    return np.dtype(_SAFETENSORS_DTYPES[name])


def _guarded(read, path: pathlib.Path, name: str) -> Callable[[], np.ndarray]:
    """Raises one kind of message for all errors of a damaged file."""

    def guarded() -> np.ndarray:
        try:
            array = read()
        except OSError as error:
            raise UserError(f"{path}: {name!r} cannot be read ({error}).") from error
        except _DAMAGE as error:
            raise _damaged(path, error, name=name) from error
        # Checked here, because training would end in NaN; "V" is the kind of bfloat16.
        if array.dtype.kind in "fV" and not np.isfinite(_float32(array)).all():
            raise UserError(
                f"{path}: {name!r} holds NaN or infinite values: the file was saved after "
                f"training had diverged, or it is damaged. Use another file."
            )
        return array

    return guarded


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # values beyond float32 become infinite
        return array.astype(np.float32, copy=False)


def _damaged(path: pathlib.Path, error: Exception, *, name: str = "") -> UserError:
    inside = f" in {name!r}" if name else ""
    return UserError(
        f"{path} is damaged{inside} ({error}); its size is {path.stat().st_size:,} bytes. "
        f"Download or copy it again."
    )
