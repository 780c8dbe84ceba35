"""Tables with labels and with boxes, as people's tools write them."""

import pickle
import unicodedata

import numpy as np
import pytest
from dense_examples import write_image

from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError

_BOXES = "image,label,x1,y1,x2,y2\n"


def _write(path, text: str, *, images=("a", "b", "c"), encoding="utf-8") -> str:
    """Writes a table and PNGs beside it; returns `data.name`."""
    for seed, name in enumerate(images):
        write_image(path.parent / f"img/{name}.png", seed=seed)
    path.write_bytes(text.encode(encoding))
    return f"csv:{path}"


def _labels(source) -> dict[str, str]:
    examples = [source[i] for i in range(len(source))]
    return {e["image_id"]: source.info.class_names[e["label"]] for e in examples}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_labels_in_any_encoding_with_any_line_ends(tmp_path, encoding, end):
    rows = ["image,label,split", "img/a.png,Käfer,train", "img\\b.png,Bär,Training"]
    rows += ["./img/c.PNG,Bär,val", ""]
    name = _write(tmp_path / "t.csv", end.join(rows), encoding=encoding)
    train, val = (open_source(name, split=s) for s in ("train", "validation"))
    assert _labels(train) == {"img/a.png": "Käfer", "img/b.png": "Bär"}
    assert _labels(val) == {"img/c.PNG": "Bär"}
    assert train.info.class_names == val.info.class_names == ("Bär", "Käfer")


@pytest.mark.parametrize(
    "text",
    [
        'sep=;\nfilename;class\nimg/a.png;"x;y"\nimg/b.png;"x;y"\nimg/c.png;"x;y"\n',
        "\n Image_Path\tLABEL \nimg/a.png\tx;y\nimg/b.png\tx;y\nimg/c.png\tx;y",
        ",image,label\n0,img/a.png,x;y\n1,img/b.png,x;y\n2,img/c.png,x;y\n",
    ],
)
def test_header_and_separator_may_be_those_of_other_tools(tmp_path, text):
    name = _write(tmp_path / "t.csv", text)
    labels = {}
    for split in ("train", "validation", "test"):
        labels |= _labels(open_source(name, split=split))
    assert labels == {f"img/{name}.png": "x;y" for name in "abc"}


def test_boxes_are_those_of_the_rows_of_an_image(tmp_path):
    rows = "img/a.png,dog,2,3,12.5,9\nimg/b.png,,,,,\nimg/a.png,cat,10,5,30,20\n"
    name = _write(tmp_path / "train.csv", _BOXES + rows)
    _write(tmp_path / "val.csv", _BOXES + "img/c.png,dog,1,1,x,4\n")
    source = open_source(f"csv:{tmp_path}", split="train")
    assert source.info.box_names == ("cat", "dog")
    first, empty = pickle.loads(pickle.dumps(source))[0], source[1]
    assert first["boxes_xyxy_px"].tolist() == [[2, 3, 12.5, 9], [10, 5, 30, 20]]
    assert first["box_labels"].tolist() == [1, 0]
    assert first["box_lines"].tolist() == [2, 4]
    assert empty["boxes_xyxy_px"].shape == (0, 4)
    val = open_source(f"csv:{tmp_path}/{{split}}.csv", split="validation")
    assert val.annotations(0)["original_hw"] == (20, 30)
    with pytest.raises(UserError, match="is not four numbers"):
        CheckedSource(val, skip=False)[0]
    with pytest.raises(UserError, match=r"so is .*val.csv. Write csv:"):
        open_source(name, split="train")


def test_decimal_commas(tmp_path):
    rows = "image;label;xmin;ymin;xmax;ymax\nimg/a.png;cat;1,5;2;9;8\n"
    source = open_source(_write(tmp_path / "t.csv", rows), split="train")
    assert source[0]["boxes_xyxy_px"].tolist() == [[1.5, 2, 9, 8]]


def test_tenths_are_held_out_class_by_class(tmp_path):
    names = [f"{label}{i}" for label in "xy" for i in range(20)]
    rows = "".join(f"img/{name}.png,{name[0]}\n" for name in names)
    whole = _write(tmp_path / "t.csv", "image,label\n" + rows, images=names)
    splits = [open_source(whole, split=s) for s in ("train", "validation", "test")]
    assert [len(s) for s in splits] == [32, 4, 4]
    assert len({i for s in splits for i in _labels(s)}) == 40
    (tmp_path / "t.csv").rename(tmp_path / "Train.CSV")
    train, val = (open_source(f"csv:{tmp_path}", split=s) for s in ("train", "validation"))
    assert sorted(_labels(val).values()) == ["x", "x", "y", "y"]
    assert len(train) == 36
    assert not _labels(train).keys() & _labels(val).keys()
    assert "4 of the 40 training images are held out" in val.info.notes[0]
    with pytest.raises(UserError, match="unknown split 'test'"):
        open_source(f"csv:{tmp_path}", split="test")


def test_numbers_as_names_are_sorted_by_size_and_gaps_are_said(tmp_path):
    rows = "image,label\nimg/a.png,10\nimg/b.png,9\nimg/c.png,2\n"
    info = open_source(_write(tmp_path / "t.csv", rows), split="train").info
    assert info.class_names == ("2", "9", "10")
    assert "from 2 to 10 and leave out 6 (3, 4, 5, 6, 7, …)" in info.notes[0]


def test_classes_of_a_list_may_have_no_image(tmp_path):
    rows = "image,label\nimg/a.png,cat\nimg/b.png,cat\nimg/c.png,cat\n"
    name = _write(tmp_path / "t.csv", rows)
    assert "one class only, 'cat'" in open_source(name, split="train").info.notes[0]
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    assert set(_labels(open_source(name, split="train")).values()) == {"cat"}
    (tmp_path / "classes.txt").write_text("dog\ncats\n")
    with pytest.raises(UserError, match=r"line 2: the class 'cat' .* you mean 'cats'"):
        open_source(name, split="train")


def test_names_that_differ_by_a_slip_are_said(tmp_path):
    rows = "image,label\nimg/a.png,traffic light\nimg/b.png,Traffic_Light\nimg/c.png,car\n"
    notes = open_source(_write(tmp_path / "t.csv", rows), split="train").info.notes
    assert notes[0].startswith("the classes 'Traffic_Light' and 'traffic light' differ")


def test_what_may_be_meant_is_said(tmp_path):
    rows = "image,label,split,size\nimg/a.png,x,train,1\nimg/b.png,y,train,1\n"
    rows += "img/a.png,x,train,1\nimg/a.png,x,test,1\n"
    name = _write(tmp_path / "t.csv", rows)
    train, test = (open_source(name, split=s).info.notes for s in ("train", "test"))
    assert train[0] == "columns that are not read: size"
    assert "1 rows say again" in train[-1]
    assert "1 images are in the test split and in the train split, e.g. img/a.png" in test


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("img/a.png,cat\nimg/b.png,dog\n", "its first line is 'img/a.png,cat'"),
        ("image,label,x1,y1\n", "corners of a box in px"),
        ("image,label,x,y,w,h\nimg/a.png,cat,1,2,3,4\n", "image,label,x1,y1,x2,y2"),
        ("filename,path,label\n", "the columns filename and path both could be the image"),
        ("image,label,label\n", "the columns label and label both could be the label"),
        (
            "image,label\nimg/a.png,cat\nimg/b.png,\n",
            r"line 3: expected a label for 'img/b",
        ),
        ("image,label\nimg/a.png,cat\n,dog\n", "line 3: expected the path of an image"),
        ("image,label\nimg/a.png,a cat, or so\n", "line 2: expected 2 fields"),
        ("image,label\nimg/a.png,x\nimg/b.png,y\nimg/a.png,y\n", "lines 2 and 4: .* one l"),
        ("image,label\nother/a.png,cat\n", "there is no .*other/a.png. Move the table"),
        ("image,label,split\nimg/a.png,cat,\n", "line 2: expected the name of a split"),
        ("image,label,split\nimg/a.png,cat,test\n", "the splits are test; expected one"),
        ("image,label\n" + "x" * 200_000 + ",y", "line 2: .* cannot be parsed"),
        (_BOXES + "img/a.png,,1,2,3,4\n", "line 2: expected a label"),
    ],
)
def test_table_that_cannot_be_learned_from_is_refused(tmp_path, text, message):
    name = _write(tmp_path / "t.csv", text)
    with pytest.raises(UserError, match=message):
        open_source(name, split="train")


def test_unknown_class_of_another_split_is_named(tmp_path):
    rows = "image,label,split\nimg/a.png,cat,train\nimg/b.png,dog,train\n"
    name = _write(tmp_path / "t.csv", rows + "img/c.png,dogs,val\n")
    with pytest.raises(UserError, match=r"line 4: the class 'dogs' .* mean 'dog'"):
        open_source(name, split="validation")
    with pytest.raises(UserError, match="unknown split 'test'"):
        open_source(name, split="test")


def test_missing_image_is_named_with_its_line(tmp_path):
    rows = "image,label,split\nimg/a.png,cat,train\nimg/none.png,dog,train\n"
    source = open_source(
        _write(tmp_path / "t.csv", rows + "img/b.png,dog,val"), split="train"
    )
    assert np.shape(source[0]["image"]) == (20, 30, 3)
    with pytest.raises(BadImageError, match=r"t.csv, line 3: image .*none.png"):
        source[1]


def test_folder_with_several_tables_is_refused(tmp_path):
    for name in ("one.csv", "two.csv", "._two.csv"):
        (tmp_path / name).touch()
    (tmp_path / "three.csv").mkdir()
    with pytest.raises(UserError, match="single .csv file in .* found one.csv, two.csv"):
        open_source(f"csv:{tmp_path}", split="train")
    with pytest.raises(UserError, match="there is no file or folder"):
        open_source(f"csv:{tmp_path}/four.csv", split="train")


def test_boxes_for_another_size_of_image_are_refused(tmp_path):
    header = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    rows = "img/a.png,60,40,cat,2,3,12,9\nimg/b.png,30,20,cat,2,3,12,9\n"
    (tmp_path / "val.csv").write_text(header + "img/c.png,,,cat,2,3,12,9\n")
    _write(tmp_path / "train.csv", header + rows)
    source = open_source(f"csv:{tmp_path}", split="train")
    for read in (source.__getitem__, source.annotations):
        with pytest.raises(BadAnnotationError, match="line 2: .* be 40x60 px, but .*20x30"):
            read(0)
        assert len(read(1)["box_labels"]) == 1
    assert len(open_source(f"csv:{tmp_path}", split="validation")[0]["box_labels"]) == 1
    assert source.info.notes == ()


def test_box_that_is_there_twice_counts_once(tmp_path):
    rows = "img/a.png,cat,2,3,12,9\n" * 2 + "img/a.png,dog,2,3,12,9\nimg/b.png,,,,,\n"
    (tmp_path / "val.csv").write_text(_BOXES + "img/c.png,cat,2,3,12,9\n")
    _write(tmp_path / "train.csv", _BOXES + rows + "img/b.png,,,,,\n")
    source = open_source(f"csv:{tmp_path}", split="train")
    assert source[0]["box_lines"].tolist() == [2, 4]
    assert "2 rows say again what another one says, and are left out" in source.info.notes


def test_test_table_without_labels_is_left_to_those_who_ask_for_it(tmp_path):
    _write(tmp_path / "train.csv", "image,label\nimg/a.png,cat\nimg/b.png,dog\n")
    (tmp_path / "test.csv").write_text("image\nimg/c.png\n")
    assert len(open_source(f"csv:{tmp_path}", split="train")) == 2
    with pytest.raises(UserError, match="test.csv: expected a header"):
        open_source(f"csv:{tmp_path}", split="test")
    (tmp_path / "val.csv").write_text("image\nimg/c.png\n")
    with pytest.raises(UserError, match="val.csv: expected a header"):
        open_source(f"csv:{tmp_path}", split="train")


def test_letters_of_a_list_of_classes_may_have_another_form(tmp_path):
    name = _write(tmp_path / "t.csv", "image,label\nimg/a.png,K\u00e4fer\n")
    written = unicodedata.normalize("NFD", "Ameise\nK\u00e4fer\n")
    (tmp_path / "classes.txt").write_text(written, encoding="utf-8")
    assert open_source(name, split="train")[0]["label"] == 1
