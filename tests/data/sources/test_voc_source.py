import pickle

import numpy as np
import pytest
from dense_examples import write_image

from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.formats.voc.folders import CLASSES
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError

_SIZE = "<size><width>30</width><height>20</height><depth>3</depth></size>"


def _object(name="cell", box=(3, 4, 12, 10), more="") -> str:
    corners = "".join(
        f"<{key}>{value}</{key}>"
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def _write(root, files: dict[str, str], lists: dict[str, str]) -> str:
    """Writes id -> xml and split -> list; returns `data.name`."""
    for folder in ("Annotations", *(["ImageSets/Main"] if lists else [])):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed, (image_id, text) in enumerate(files.items()):
        write_image(root / f"JPEGImages/{image_id}.png", seed=seed)
        text = f"<annotation>{_SIZE}{text}</annotation>"
        (root / f"Annotations/{image_id}.xml").write_text(text)
    for split, text in lists.items():
        (root / f"ImageSets/Main/{split}.txt").write_text(text)
    return f"voc:{root}"


@pytest.fixture
def name(tmp_path):
    files = {
        "one": _object() + _object("rod", (1, 1, 30, 20), "<difficult>1</difficult>"),
        "two": "",
        "three": _object("rod", (2.5, 3.75, 9.5, 8), "<difficult>0</difficult>"),
    }
    return _write(tmp_path, files, {"train": "two\none\n", "val": "three  1\n\n"})


def test_examples_hold_boxes_from_corner_to_corner(name):
    source = open_source(name, split="train")
    assert source.info.box_names == ("cell", "rod")
    assert source.info.largest_hw == (20, 30)
    assert len(source) == 2
    empty, one = source[0], source[1]
    assert (empty["image_id"], one["image_id"]) == ("two", "one")
    assert empty["boxes_xyxy_px"].shape == (0, 4)
    # Pixels 3 to 12, counted from 1 and both included, are px 2 to 12.
    assert one["boxes_xyxy_px"].tolist() == [[2, 3, 12, 10], [0, 0, 30, 20]]
    assert one["box_labels"].tolist() == [0, 1]
    assert one["box_crowd"].tolist() == [False, True]
    assert one["image"].shape == (20, 30, 3)
    assert one["where"].endswith("Annotations/one.xml")


def test_validation_is_val_with_the_classes_of_train(name):
    source = open_source(name, split="validation")
    assert source.info.box_names == ("cell", "rod")
    read = source.annotations(0)
    assert read["boxes_xyxy_px"].tolist() == [[1.5, 2.75, 9.5, 8]]
    assert read["box_labels"].tolist() == [1]
    assert read["original_hw"] == (20, 30)
    assert "image" not in read


def test_classes_are_voc_s_if_they_fit(tmp_path):
    name = _write(tmp_path, {"a": _object("dog") + _object("car")}, {"train": "a"})
    source = open_source(name, split="train")
    assert source.info.box_names == CLASSES
    assert len(CLASSES) == 20
    assert [CLASSES[k] for k in source[0]["box_labels"]] == ["dog", "car"]


def test_classes_are_those_of_a_list_and_no_slip_of_the_pen(tmp_path):
    files = {"a": _object("rod") + _object("cell") + _object("cel")}
    name = _write(tmp_path, files, {"train": "a"})
    (tmp_path / "classes.txt").write_text("\ufeffcell\nrod\n")  # as some editors begin
    source = open_source(name, split="train")
    assert source.info.box_names == ("cell", "rod")
    with pytest.raises(BadAnnotationError, match=r"a.xml': .*written 'cel'\), is of an un"):
        CheckedSource(source, skip=False)[0]
    assert CheckedSource(source, skip=True)[0]["box_labels"].tolist() == [1, 0]


def test_any_number_of_classes_is_listed_each_once(tmp_path):
    name = _write(tmp_path, {"a": _object("299")}, {"train": "a"})
    names = "\n".join(map(str, range(300)))
    (tmp_path / "classes.txt").write_text(names)
    assert open_source(name, split="train")[0]["box_labels"].tolist() == [299]
    (tmp_path / "classes.txt").write_text(f"{names}\n7")
    with pytest.raises(UserError, match=r"classes.txt: '7' stands in two lines"):
        open_source(name, split="train")


def test_annotated_images_without_lists_are_shared_out(tmp_path):
    name = _write(tmp_path, {f"{i:02d}": _object() for i in range(20)}, {})
    splits = [open_source(name, split=s) for s in ("train", "validation", "test")]
    assert [len(source) for source in splits] == [16, 2, 2]
    ids = [s[i]["image_id"] for s in splits for i in range(len(s))]
    assert sorted(ids) == [f"{i:02d}" for i in range(20)]


def test_source_can_be_sent_to_worker_processes(name):
    source = pickle.loads(pickle.dumps(open_source(name, split="train")))
    assert source[1]["box_labels"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (_object(box=(7, 9, 7, 9)), "has no area"),
        (_object(box=(7, 9, 12, 9)), "has no area"),
        (_object(box=(12, 4, 3, 10)), "has its corners swapped"),
        (_object(box=(0.1, 0.2, 0.9, 0.7)), "seems to hold shares"),
        (_object(box=(3, 4, 12, "x")), "is not four numbers"),
        ("<object><name>cell</name></object>", "is not four numbers"),
        (_object(box=(3, 4, 40, 10)), "reaches beyond the image"),
        (_object("ball"), "is of an unknown category"),
        (_object("").replace("<name></name>", ""), "is of an unknown category"),
    ],
)
def test_faulty_object_is_named_or_counted(tmp_path, faulty, message):
    files = {"a": _object(), "b": _object() + faulty}
    name = _write(tmp_path, files, {"train": "a", "val": "b"})
    source = open_source(name, split="validation")
    with pytest.raises(BadAnnotationError, match=f"b.xml': the box of index 1.*{message}"):
        CheckedSource(source, skip=False)[0]
    kept = CheckedSource(source, skip=True)[0]
    assert kept["faulty"] == 1
    np.testing.assert_array_equal(kept["boxes_xyxy_px"], [[2, 3, 12, 10]])


def test_missing_image_is_named(name, tmp_path):
    (tmp_path / "JPEGImages/one.png").unlink()
    source = open_source(name, split="train")
    for read in (source.__getitem__, source.annotations):
        with pytest.raises(BadImageError, match=r"JPEGImages/one\.jpg"):
            read(1)


@pytest.mark.parametrize("text", [None, "<annotation>", "no xml"])
def test_xml_that_cannot_be_read_is_named_or_skipped(name, tmp_path, text):
    path = tmp_path / "Annotations/two.xml"
    path.unlink() if text is None else path.write_text(text)
    source = open_source(name, split="train")
    assert source.info.box_names == ("cell", "rod")
    assert source.info.largest_hw == (20, 30)
    message = r"Annotations/two.xml' cannot be read"
    with pytest.raises(BadAnnotationError, match=message):
        CheckedSource(source, skip=False)
    kept = pickle.loads(pickle.dumps(CheckedSource(source, skip=True)))
    for read in (kept.__getitem__, kept.annotations):
        with pytest.raises(BadAnnotationError, match=message):
            read(0)
        assert read(1)["image_id"] == "one"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_split_without_readable_xml_is_refused(name, tmp_path, split):
    for image_id in ("one", "two") if split == "train" else ("three",):
        (tmp_path / f"Annotations/{image_id}.xml").unlink()
    with pytest.raises(BadAnnotationError, match=r"Annotations/\w+.xml' cannot be read"):
        open_source(name, split=split)


def test_unknown_split_lists_the_lists(name, tmp_path):
    (tmp_path / "ImageSets/Main/cell_train.txt").touch()  # of one class: no split
    with pytest.raises(UserError, match="unknown split 'test'.* It has: train, validation"):
        open_source(name, split="test")


def test_list_without_ids_is_refused(name, tmp_path):
    (tmp_path / "ImageSets/Main/test.txt").touch()
    with pytest.raises(UserError, match="split 'test' has no images"):
        open_source(name, split="test")


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations"])
def test_folder_of_another_layout_is_refused(name, tmp_path, folder):
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"layout of PASCAL VOC.* there is no .*/{folder}"):
        open_source(name, split="train")
