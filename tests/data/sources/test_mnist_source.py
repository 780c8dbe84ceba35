import gzip
import pickle
import struct

import numpy as np
import pytest

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import UserError


def _idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def _write(folder, *, prefix: str, count: int, compress: bool, dot: str = "-"):
    images = np.random.default_rng(count).integers(0, 256, (count, 5, 6))
    labels = np.arange(count) % 10
    for stem, array in (
        (f"{prefix}-images{dot}idx3-ubyte", images),
        (f"{prefix}-labels{dot}idx1-ubyte", labels),
    ):
        if compress:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(_idx(array)))
        else:
            (folder / stem).write_bytes(_idx(array))
    return images


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_splits_hold_the_documented_rows(tmp_path, compress, dot):
    train = _write(tmp_path, prefix="train", count=120, compress=compress, dot=dot)
    test = _write(tmp_path, prefix="t10k", count=30, compress=compress, dot=dot)
    rows = {"train": train[:110], "validation": train[110:], "test": test}
    for split, expected in rows.items():
        source = open_source(f"mnist:{tmp_path}", split=split)
        images = np.stack([source[i]["image"] for i in range(len(source))])
        np.testing.assert_array_equal(images, np.repeat(expected[..., None], 3, axis=-1))
        assert images.dtype == np.uint8
    assert [source[i]["label"] for i in range(12)] == [*range(10), 0, 1]
    assert source.info.num_classes == 10


def test_used_source_is_cheap_to_pickle(tmp_path):
    _write(tmp_path, prefix="train", count=120, compress=True)
    source = open_source(f"mnist:{tmp_path}", split="train")
    expected = source[7]["image"]
    pickled = pickle.dumps(source)
    assert len(pickled) < 2000
    np.testing.assert_array_equal(pickle.loads(pickled)[7]["image"], expected)


def test_missing_files_are_named_with_a_remedy(tmp_path):
    with pytest.raises(UserError) as caught:
        open_source(f"mnist:{tmp_path}", split="test")
    for part in ("t10k-images-idx3-ubyte.gz", str(tmp_path), "dataset-fashion-mnist"):
        assert part in str(caught.value)


def test_wrong_magic_number_is_refused(tmp_path):
    _write(tmp_path, prefix="train", count=20, compress=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(b"\x00\x00\x0d\x03" + path.read_bytes()[4:])
    with pytest.raises(UserError, match="images.*starts with 0x00000803, got 0x00000d03"):
        open_source(f"mnist:{tmp_path}", split="train")


def test_short_file_is_refused(tmp_path):
    _write(tmp_path, prefix="train", count=20, compress=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    source = open_source(f"mnist:{tmp_path}", split="train")
    with pytest.raises(UserError, match="promises 600 bytes .* it holds 599"):
        source[0]


def test_torn_gzip_is_refused(tmp_path):
    _write(tmp_path, prefix="train", count=20, compress=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    source = open_source(f"mnist:{tmp_path}", split="train")
    with pytest.raises(UserError, match="images.*not a whole IDX file"):
        source[0]


def test_images_and_labels_must_match(tmp_path):
    _write(tmp_path, prefix="train", count=20, compress=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(_idx(np.zeros(19)))
    with pytest.raises(UserError, match="20 images but .* 19 labels"):
        open_source(f"mnist:{tmp_path}", split="train")


def test_label_beyond_nine_is_refused(tmp_path):
    _write(tmp_path, prefix="train", count=20, compress=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(_idx(np.full(20, 26)))
    source = open_source(f"mnist:{tmp_path}", split="train")
    with pytest.raises(UserError, match="expected labels 0 to 9, got 26"):
        source[0]


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="'t10k'.*train, validation, test"):
        open_source(f"mnist:{tmp_path}", split="t10k")
