"""`data.yaml` of a YOLO data set: names of classes, and where the images of splits are.

Format: Ultralytics, Object Detection Datasets Overview (docs.ultralytics.com).
"""

import dataclasses
import pathlib
import unicodedata
from typing import Any

import yaml

from hybrid_jax.data.formats.classes.class_list import listed_classes
from hybrid_jax.data.formats.splits import split_called
from hybrid_jax.data.formats.text_files import read_text
from hybrid_jax.errors import UserError

WHOLE = ""
"""The key of images that no split is said of."""

_NOTHING = ("", "~", "null", "Null", "NULL", "None")


@dataclasses.dataclass(frozen=True)
class YoloData:
    """What the file says.

    Attributes:
        path: of the file, or of the folder if there is none.
        roots: folders that its paths may be relative to, the likeliest first.
        ids: of the classes in label files, ascending.
        names: of the classes, one for each id.
        splits: split -> paths as they are written; `WHOLE` -> all.
        has_keypoints: whether lines of labels go on behind the box.
    """

    path: pathlib.Path
    roots: tuple[pathlib.Path, ...]
    ids: tuple[int, ...]
    names: tuple[str, ...]
    splits: dict[str, list[str]]
    has_keypoints: bool = False


def read_yolo(location: str) -> YoloData:
    """Reads a file, or the one in a folder.

    A folder without one, but with `images`, `labels` and `classes.txt`, as labeling tools
    export it, has no splits.

    Raises:
        UserError: no such file, no yaml, no names, names that are not as many as `nc` or
            stand there twice, or no training split.
    """
    path = pathlib.Path(location).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in (".yaml", ".yml"))
        usual = [p for p in found if p.stem.lower() in ("data", "dataset")]
        found = usual[:1] or found
        if not found and (path / "images").is_dir():
            return _without_yaml(path)
        if len(found) != 1:
            names = ", ".join(p.name for p in found[:5]) or "none"
            raise UserError(
                f"data 'yolo:{location}': expected data.yaml in {path}, found {names}. "
                f"Write yolo: and the path of the file."
            )
        path = found[0]
    content = _content(path)
    folder = path.parent
    written = str(content.get("path", ""))
    roots = [folder / written, folder] if written else [folder]
    if not roots[0].is_dir():
        # Ultralytics looks for relative paths in a folder of all data sets.
        roots += [above / written for above in folder.parents]
    ids, names = _classes(content, path)
    return YoloData(
        path=path,
        roots=tuple(dict.fromkeys(roots)),
        ids=ids,
        names=names,
        splits=_splits(content, path),
        has_keypoints="kpt_shape" in content,
    )


def _without_yaml(folder: pathlib.Path) -> YoloData:
    for place in (folder, folder / "labels"):
        names = listed_classes(place)
        if names is not None:
            ids = tuple(range(len(names)))
            return YoloData(folder, (folder,), ids, names, {WHOLE: ["images"]})
    raise UserError(
        f"data 'yolo:{folder}': expected data.yaml, or classes.txt with the names of the "
        f"classes, one a line, in {folder}; found neither."
    )


class _Texts(yaml.BaseLoader):
    """Every value as a text: a class called `no` or `off` would be a truth value."""

    def compose_mapping_node(self, anchor):
        """Raises for a key that stands twice, of which yaml itself takes the last."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: {twice[0]!r} is there twice")
        return node


def _content(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = yaml.load(read_text(path), Loader=_Texts)
    except OSError as error:
        raise UserError(
            f"data 'yolo:{path}': there is no file or folder that can be read: {error}. "
            f"Expected data.yaml, or the folder that holds it."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"{path}: expected yaml, but it cannot be parsed: {text}."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected yaml with the keys names, train and val.")
    return {key: value for key, value in content.items() if value not in _NOTHING}


def _classes(
    content: dict[str, Any], path: pathlib.Path
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    names, count = content.get("names"), str(content.get("nc", ""))
    if not names and count.isdecimal() and 0 < int(count) <= 10_000:
        names = list(map(str, range(int(count))))
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not names or not all(map(_is_id, names)):
        raise UserError(
            f"{path}: expected under names a list, or a number and a name a line such as "
            f"0: cat, got {str(names)[:80]!r}."
        )
    for number, name in names.items():
        if not isinstance(name, str) or not name.strip():
            raise UserError(
                f"{path}: expected a text as the name of class {number}, got "
                f"{str(name)[:80]!r}."
            )
    name_of = {int(number): _form(name) for number, name in names.items()}
    if len(name_of) < len(names):
        raise UserError(f"{path}: expected each number once under names, as in 0, not 00.")
    if count and count != str(len(name_of)):
        raise UserError(
            f"{path}: nc is {count[:20]}, but there are {len(name_of)} names. Correct one."
        )
    texts = list(name_of.values())
    if twice := [name for name in texts if texts.count(name) > 1]:
        raise UserError(
            f"{path}: {twice[0]!r} stands twice in names; each names one class."
        )
    ids = tuple(sorted(name_of))
    return ids, tuple(name_of[number] for number in ids)


def _is_id(key: Any) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10


def _splits(content: dict[str, Any], path: pathlib.Path) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for key, value in content.items():
        split = split_called(str(key))
        if split is None:
            continue
        places = value if isinstance(value, list) else [value]
        if not all(isinstance(place, str) for place in places):
            raise UserError(
                f"{path}: expected under {key} a path or a list of paths, got "
                f"{str(value)[:80]!r}."
            )
        if split in splits:
            raise UserError(f"{path}: {key} is the {split} split, and so is another key.")
        splits[split] = places
    if "train" not in splits:
        raise UserError(
            f"{path}: expected the key train with the folder of training images, found "
            f"{', '.join(map(str, content))[:200]}."
        )
    return splits


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())
