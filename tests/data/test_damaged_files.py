"""Files in which anything may be wrong end in the library's own errors, never in others."""

import contextlib
import copy
import functools
import io
import json
import random
import warnings

import numpy as np
import pytest
import safetensors.numpy
from data_examples import random_image
from dense_examples import write_image
from PIL import Image

from hybrid_jax.config import changed, defaults
from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.formats.decoding.decode import image_hw, read_image
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import UserError
from hybrid_jax.packing.pack import pack
from hybrid_jax.pretrained.files.array_file import open_arrays

_FEW, _MANY = 150, 3000
_ODD = [
    *(None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**30, 2**63, 10**400),
    *("", "x", "a" * 300, "\ud800", "\0", "480", [], [1], [[]], {}, {"a": []}),
]
_OUTLINES = ([[1, 2, 11, 2, 11, 8]], dict(size=[20, 30], counts=[25, 6, 14, 6]))
_XML = (
    "<annotation><size><width>30</width><height>20</height></size><object><name>x</name>"
    "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    "<difficult>0</difficult></object></annotation>"
)


def _places(node, path=()):
    """Yields the path to every value below a node of json."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


def _odd_coco(draw: random.Random) -> bytes:
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png", height=20, width=30) for i in range(2)],
        annotations=[
            dict(id=i + 1, image_id=i, category_id=1, bbox=[1, 2, 10, 6], area=30.5)
            | dict(segmentation=outline)
            for i, outline in enumerate(_OUTLINES)
        ],
        categories=[dict(id=1, name="cat"), dict(id=4, name="dog")],
    )
    for _ in range(draw.randint(1, 3)):
        *above, last = draw.choice(list(_places(content)) or [("images",)])
        node = functools.reduce(lambda inner, key: inner[key], above, content)
        if draw.random() < 0.2:
            node.pop(last, None) if isinstance(node, dict) else node.pop(last)
        else:
            node[last] = copy.deepcopy(draw.choice(_ODD))
    return json.dumps(content).encode()


def _damaged(content: bytes, draw: random.Random) -> bytes:
    """Returns bytes of which some are changed, or an end is missing or doubled."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        # Most of what is read before the pixels stands in front.
        end = draw.choice((64, 256, len(changed)))
        changed[draw.randrange(min(end, len(changed)))] = draw.randrange(256)
    kind = draw.random()
    if kind < 0.2:
        del changed[draw.randrange(1, len(changed)) :]
    elif kind < 0.3:
        at = draw.randrange(len(changed))
        changed[at:at] = changed[: draw.randrange(1, 50)]
    return bytes(changed)


def _read_all(name: str) -> None:
    for skip in (False, True):
        source = CheckedSource(open_source(name, split="train"), skip=skip)
        for index in range(len(source)):
            for read in (source.__getitem__, source.annotations):
                _only_user_errors(lambda read=read, index=index: read(index))


def _only_user_errors(action) -> None:
    with contextlib.suppress(UserError):
        action()


def _picture(kind: str) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_image()).save(file, kind, exif=exif)
    return file.getvalue()


def _arrays(kind: str) -> bytes:
    arrays = {"a/b": np.arange(40, dtype=np.float32), "c": np.ones((2, 3), np.float16)}
    if kind == "safetensors":
        return safetensors.numpy.save(arrays)
    file = io.BytesIO()
    (np.savez_compressed if kind == "zipped" else np.savez)(file, **arrays)
    return file.getvalue()


def _with_coco(root, draw):
    (root / "c.json").write_bytes(_odd_coco(draw))
    _read_coco(root)


def _with_coco_bytes(root, draw):
    (root / "c.json").write_bytes(_damaged(_odd_coco(draw), draw))
    _read_coco(root)


def _read_coco(root) -> None:
    for kind in ("coco", "coco_seg"):
        name = f"{kind}:{root}/JPEGImages,{root}/c.json"
        _only_user_errors(lambda name=name: _read_all(name))


def _with_voc(root, draw):
    (root / "Annotations/0.xml").write_bytes(_damaged(_XML.encode(), draw))
    _only_user_errors(lambda: _read_all(f"voc:{root}"))


def _with_csv(root, draw):
    text = "image,label,x1,y1,x2,y2,split\n" + "JPEGImages/0.png,a,1,2,9.5,8,train\n" * 3
    (root / "t.csv").write_bytes(_damaged(text.encode(), draw))
    _only_user_errors(lambda: _read_all(f"csv:{root}/t.csv"))


def _with_yolo(root, draw):
    yaml = b"path: .\nnames: {0: a, 1: b}\nnc: 2\ntrain: [JPEGImages]\nval: JPEGImages\n"
    labels = b"0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.5 0.1 0.3 0.6\n"
    (root / "labels").mkdir(exist_ok=True)
    (root / "data.yaml").write_bytes(_damaged(yaml, draw) if draw.random() < 0.5 else yaml)
    (root / "labels/0.txt").write_bytes(_damaged(labels, draw))
    _only_user_errors(lambda: _read_all(f"yolo:{root}"))


def _pack(root, folder) -> None:
    write_image(root / "JPEGImages/2.png")
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png") for i in range(3)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 10, 6])],
        categories=[dict(id=1, name="cat")],
    )
    (root / "packed.json").write_text(json.dumps(content))
    name = f"coco:{root}/JPEGImages,{root}/packed.json"
    pack(changed(defaults("tiny"), {"data.name": name}), "", output=str(folder))


def _with_records(root, draw):
    folder = root / "packed"
    if not folder.exists():
        _pack(root, folder)
    path = folder / draw.choice(["dataset.json", "train-00000-of-00001.array_record"])
    whole = path.read_bytes()
    damaged = _damaged(whole, draw)
    path.write_bytes(damaged + bytes(max(0, len(whole) - len(damaged))))
    _only_user_errors(lambda: _read_all(f"records:{folder}"))
    path.write_bytes(whole)


def _with_picture(root, draw, *, content):
    path = root / "picture"
    path.write_bytes(_damaged(content, draw))
    for read in (read_image, image_hw):
        _only_user_errors(lambda read=read: read(path))


def _with_arrays(root, draw, *, content):
    path = root / "weights"
    path.write_bytes(_damaged(content, draw))
    _only_user_errors(lambda: [array.read() for array in open_arrays(path).values()])


_KINDS = {
    "coco": _with_coco,
    "coco bytes": _with_coco_bytes,
    "voc": _with_voc,
    "csv": _with_csv,
    "yolo": _with_yolo,
    "records": _with_records,
    "jpeg": functools.partial(_with_picture, content=_picture("JPEG")),
    "png": functools.partial(_with_picture, content=_picture("PNG")),
    "webp": functools.partial(_with_picture, content=_picture("WEBP")),
    "npz": functools.partial(_with_arrays, content=_arrays("npz")),
    "zipped": functools.partial(_with_arrays, content=_arrays("zipped")),
    "safetensors": functools.partial(_with_arrays, content=_arrays("safetensors")),
}


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("count", [_FEW, pytest.param(_MANY, marks=pytest.mark.slow)])
def test_damage_ends_in_our_own_error(tmp_path, kind, count):
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(2):
        Image.fromarray(random_image()).save(tmp_path / f"JPEGImages/{i}.png")
        (tmp_path / f"Annotations/{i}.xml").write_text(_XML)
    (tmp_path / "ImageSets/Main/train.txt").write_text("0\n1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about metadata
        for seed in range(count):
            _KINDS[kind](tmp_path, random.Random(seed))
