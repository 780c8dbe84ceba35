"""Files of arrays: listed without being read, read one by one, refused if they are bad."""

import pickle
import re
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.files.array_file import open_arrays

ARRAYS = {
    "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.linspace(-1, 1, 5).astype(np.float16),
    "c/half": np.asarray([1.5, -2.0, 1e30], ml_dtypes.bfloat16),
}


def written(folder, kind):
    """Returns a file of ARRAYS; its name says nothing about its kind."""
    path = folder / "weights"
    if kind == "npz":
        with open(path, "wb") as file:
            np.savez(file, **ARRAYS)
    else:
        safetensors.numpy.save_file(ARRAYS, path)
    return path


@pytest.fixture(params=["npz", "safetensors"])
def path(request, tmp_path):
    return written(tmp_path, request.param)


def test_arrays_come_back_with_shape_and_dtype(path):
    stored = open_arrays(path)
    assert stored.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert stored[name].shape == array.shape
        assert stored[name].dtype == array.dtype
        np.testing.assert_array_equal(stored[name].read(), array)
        assert stored[name].read().dtype == array.dtype


@pytest.mark.parametrize("low_byte", [0x80, ord("P")])
def test_length_of_the_header_is_not_taken_for_another_kind(tmp_path, low_byte):
    path = tmp_path / "weights"
    names = ("n" * length for length in range(1, 600))
    for name in names:
        safetensors.numpy.save_file({name: np.zeros(2)}, path)
        if path.read_bytes()[0] == low_byte:
            break
    assert path.read_bytes()[0] == low_byte
    assert open_arrays(path).keys() == {name}


def test_listing_reads_no_array(path):
    listed = open_arrays(path)
    path.unlink()
    with pytest.raises(UserError, match="weights"):
        listed["b"].read()


@pytest.mark.parametrize("kept", [0.97, 0.5, 0.1])
def test_truncated_file_is_one_clear_error(path, kept):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UserError, match=f"{re.escape(str(path))} is damaged"):
        open_arrays(path)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_changed_bytes_inside_an_npz_are_noticed(tmp_path, write):
    path = tmp_path / "weights.npz"
    hit = np.random.default_rng(0).integers(0, 9, 50_000).astype(np.float64)
    write(path, whole=ARRAYS["b"], hit=hit)
    content = bytearray(path.read_bytes())
    middle = len(content) - 10_000
    content[middle : middle + 100] = b"\xff" * 100
    path.write_bytes(content)
    stored = open_arrays(path)
    np.testing.assert_array_equal(stored["whole"].read(), ARRAYS["b"])
    with pytest.raises(UserError, match="is damaged in 'hit'"):
        stored["hit"].read()


def test_compressed_array_that_cannot_be_unpacked_is_damage(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez_compressed(path, hit=np.zeros(100))
    listed = open_arrays(path)
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo("hit.npy").header_offset
    content = bytearray(path.read_bytes())
    name_and_extra = struct.unpack("<HH", content[begin + 26 : begin + 30])
    content[begin + 30 + sum(name_and_extra)] = 0xFF  # no kind of block that deflate has
    path.write_bytes(content)
    for look in (lambda: open_arrays(path), listed["hit"].read):
        with pytest.raises(UserError, match="is damaged.*invalid block type"):
            look()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_array_with_nan_or_infinity_is_named(tmp_path, bad, dtype):
    path = tmp_path / "weights.npz"
    np.savez(path, good=np.ones(3), poisoned=np.asarray([0.0, bad], dtype))
    stored = open_arrays(path)
    stored["good"].read()
    with pytest.raises(UserError, match="'poisoned' holds NaN or infinite values"):
        stored["poisoned"].read()


class Trap:
    """Unpickling this would leave a mark."""

    def __reduce__(self):
        return (exec, ("raise AssertionError('the pickle was run')",))


def test_pickled_objects_in_an_npz_are_refused_unread(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, trap=np.array([Trap()], dtype=object))
    with pytest.raises(UserError, match="'trap' holds pickled objects.*Convert it"):
        open_arrays(path)


def test_pickle_is_refused_with_the_way_to_convert_it(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"is a pickle.*safetensors.torch.save_file"):
        open_arrays(path)


def test_torch_archive_is_refused_with_the_way_to_convert_it(tmp_path):
    path = tmp_path / "model.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"is a torch pickle.*safetensors.torch"):
        open_arrays(path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(40), b"PK"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        open_arrays(path)


def test_headers_of_every_version_of_the_format_are_read(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for version in ((1, 0), (2, 0)):
            with archive.open(f"v{version[0]}.npy", "w") as member:
                np.lib.format.write_array(member, ARRAYS["a/kernel"], version=version)
    for array in open_arrays(path).values():
        np.testing.assert_array_equal(array.read(), ARRAYS["a/kernel"])


def test_value_too_large_for_float32_is_named(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, large=np.asarray([1.0, 1e300]))
    with pytest.raises(UserError, match="'large' holds NaN or infinite values"):
        open_arrays(path)["large"].read()


def test_folder_is_not_called_missing(tmp_path):
    with pytest.raises(UserError, match=r"is a folder\. Name the file in it"):
        open_arrays(tmp_path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.npz: no such file"):
        open_arrays(tmp_path / "nowhere.npz")


def test_member_that_is_no_array_is_named(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello, this is not an array")
    with pytest.raises(UserError, match="'readme.txt' is not an array"):
        open_arrays(path)
