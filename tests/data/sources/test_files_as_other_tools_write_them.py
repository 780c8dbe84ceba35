"""Marks, encodings, line ends, separators and spellings of names in annotation files."""

import codecs
import json
import pathlib
import unicodedata

import numpy as np
import pytest
from dense_examples import write_image, write_mask

from hybrid_jax.data.formats.written_paths import found_file
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadAnnotationError, UserError

_BOX = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
_XML = f"<annotation><object><name>Käfer</name>{_BOX}</object></annotation>"
_NFC, _NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def _coco(root: pathlib.Path, content: bytes | None = None, *, file_name="0.png") -> str:
    if content is None:
        content = json.dumps(_content(file_name), ensure_ascii=False).encode()
    (root / "c.json").write_bytes(content)
    return f"coco:{root}/img,{root}/c.json"


def _content(file_name: str = "0.png") -> dict:
    images = [dict(id=0, file_name=file_name)]
    return dict(images=images, categories=[dict(id=1, name="Käfer")], annotations=[])


def _voc(root: pathlib.Path, files: dict[str, bytes], train: bytes) -> str:
    (root / "Annotations").mkdir()
    (root / "ImageSets/Main").mkdir(parents=True)
    for name, content in files.items():
        write_image(root / f"JPEGImages/{name}.png")
        (root / f"Annotations/{name}.xml").write_bytes(content)
    (root / "ImageSets/Main/train.txt").write_bytes(train)
    return f"voc:{root}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_text_may_have_any_usual_encoding(tmp_path, encoding):
    write_image(tmp_path / "img/0.png")
    text = json.dumps(_content(), ensure_ascii=False)
    source = open_source(_coco(tmp_path, text.encode(encoding)), split="train")
    assert source.info.box_names == ("Käfer",)
    voc = _voc(tmp_path, {"a": _XML.encode()}, "a\r\n".encode(encoding))
    (tmp_path / "classes.txt").write_bytes("Käfer\r\nBär\r\n".encode(encoding))
    source = open_source(voc, split="train")
    assert source.info.box_names == ("Käfer", "Bär")
    assert source[0]["box_labels"].tolist() == [0]


@pytest.mark.parametrize(
    "content",
    [
        _XML.encode("utf-8-sig"),
        _XML.encode("cp1252"),
        codecs.BOM_UTF16_LE + _XML.encode("utf-16-le"),
        f'<?xml version="1.0" encoding="latin-1"?>\r\n{_XML}'.encode("latin-1"),
        # Of several bytes a letter, which the parser of xml does not know by itself.
        f'<?xml version="1.0" encoding="GBK"?>{_XML}'.replace("ä", "蓝").encode("gbk"),
    ],
)
def test_xml_may_have_any_encoding(tmp_path, content):
    source = open_source(_voc(tmp_path, {"a": content}, b"a\n"), split="train")
    assert source.info.box_names[0] in ("Käfer", "K蓝fer")
    assert source.first_fault is None
    assert source[0]["box_labels"].tolist() == [0]


def test_xml_in_an_encoding_that_nobody_knows_is_named(tmp_path):
    content = b'<?xml version="1.0" encoding="klingon"?><annotation/>'
    with pytest.raises(BadAnnotationError, match="a.xml' cannot be read"):
        open_source(_voc(tmp_path, {"a": content}, b"a\n"), split="train")


def test_ids_may_hold_spaces_and_lists_may_say_1_behind_them(tmp_path):
    names = ["cell 1", "cell 2", "cell"]
    lines = "cell 1\r\ncell 2  1\r\ncell -1\r\n"
    name = _voc(tmp_path, dict.fromkeys(names, _XML.encode()), lines.encode())
    source = open_source(name, split="train")
    assert [source[i]["image_id"] for i in range(3)] == names


def test_lists_may_hold_names_of_files(tmp_path):
    lines = "a.png\nC:\\photos\\b.png\nJPEGImages/c.png\n"
    files = dict.fromkeys("abc", _XML.encode())
    source = open_source(_voc(tmp_path, files, lines.encode()), split="train")
    assert [source[i]["image_id"] for i in range(3)] == ["a", "b", "c"]


def test_stray_files_are_no_annotated_images(tmp_path):
    name = _voc(tmp_path, dict.fromkeys("abcdef", _XML.encode()), b"")
    (tmp_path / "ImageSets/Main/train.txt").unlink()
    (tmp_path / "ImageSets/Main").rmdir()
    for stray in ("classes.txt", "Thumbs.db", "desktop.ini"):
        (tmp_path / "Annotations" / stray).touch()
    (tmp_path / "Annotations/a.xml").rename(tmp_path / "Annotations/a.XML")
    sources = [open_source(name, split=s) for s in ("train", "validation", "test")]
    ids = [s[i]["image_id"] for s in sources for i in range(len(s))]
    assert sorted(ids) == list("abcdef")


def test_two_images_of_one_id_are_refused(tmp_path):
    name = _voc(tmp_path, {"a": _XML.encode()}, b"a\n")
    write_image(tmp_path / "JPEGImages/a.jpg")
    with pytest.raises(UserError, match=r"a.jpg and a.png in JPEGImages both are"):
        open_source(name, split="train")


def test_size_in_the_xml_is_that_of_the_image(tmp_path):
    size = "<size><width>{}</width><height>{}</height></size>"
    files = {
        name: _XML.replace("<object>", f"{size.format(*wh)}<object>", 1).encode()
        for name, wh in dict(a=(30, 20), b=(20, 30), c=(0, 0)).items()
    }
    source = open_source(_voc(tmp_path, files, b"a\nb\nc\n"), split="train")
    for read in (source.__getitem__, source.annotations):
        assert len(read(0)["box_labels"]) == len(read(2)["box_labels"]) == 1
        with pytest.raises(BadAnnotationError, match="to be 30x20 px, .* is 20x30 px"):
            read(1)


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("sub/0.png", "sub\\0.png"),
        (f"{_NFD}.png", f"{_NFC}.png"),
        (f"{_NFC}.png", f"{_NFD}.png"),
        ("0.PNG", "0.png"),
        ("0.png", "0.PNG"),
        ("sub/0.png", "C:\\Users\\me\\img\\sub\\0.png"),
        ("0.png", "/home/somebody/img/0.png"),
    ],
)
def test_path_of_another_system_finds_its_file(tmp_path, stored, written):
    write_image(tmp_path / "img" / stored)
    source = open_source(_coco(tmp_path, file_name=written), split="train")
    assert source[0]["image"].shape == (20, 30, 3)


@pytest.mark.parametrize("written", ["0.png", "", "/", "C:", "a\0b", "x" * 999])
def test_path_to_nothing_stays_as_it_is_written(tmp_path, written):
    assert found_file(tmp_path, written) == tmp_path / written


def test_end_of_a_relative_path_is_not_taken_for_it(tmp_path):
    write_image(tmp_path / "0.png")
    assert found_file(tmp_path, "other/0.png") == tmp_path / "other/0.png"


def test_image_and_mask_may_spell_a_letter_each_in_its_way(tmp_path):
    write_image(tmp_path / f"img/{_NFD}.png")
    write_mask(tmp_path / f"mask/{_NFC}.png", np.eye(20, 30, dtype=np.uint8))
    source = open_source(f"seg:{tmp_path}/img,{tmp_path}/mask", split="train")
    assert source[0]["segmentation"].sum() == 20
